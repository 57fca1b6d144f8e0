"""What a child process does before it runs a job, forked from the zygote or fresh.

The child leads its own session, so that its whole process group can be ended; dies with its parent;
reads nothing; and leaves what it prints in the run folder's ``output.log``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Literal

from sweeper.execution.jobs import OUTPUT
from sweeper.program.trackers import disable_trackers
from sweeper.types import Job

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


ALLOCATOR = "JE_ARROW_MALLOC_CONF"

start: Literal["", "fresh", "imports", "prepared"] = ""
"""From where this process runs its program: `Outcome.start`."""


def run_environment(threads: int) -> dict[str, str]:
    """Environment of every process that runs a program: thread counts, one hash seed for warm and
    fresh runs, and trackers that ask no server when they are imported."""
    values = {"WANDB_MODE": os.environ.get("WANDB_MODE", "")}
    disable_trackers(
        values, Path(tempfile.gettempdir()) / "sweeper-trackers"
    )  # the run's own later
    values |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    if path := os.environ.get("PYTHONPATH"):
        # Relative to where the user stands; these processes start elsewhere.
        values["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    given = os.environ.get("PYTHONHASHSEED", "0")
    values["PYTHONHASHSEED"] = "0" if given == "random" else given
    # pyarrow, which pandas imports, would start a thread of its allocator's: no fork and no overlay
    # file system after that. Which allocator is used stays as it is.
    given = os.environ.get(ALLOCATOR, "")
    values[ALLOCATOR] = given or "background_thread:false"
    # Asks the driver library for a GPU count without initialising CUDA, after which a fork is
    # unsafe.
    values["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    return values


def prctl(option: int, value: int) -> bool:
    """Call prctl(2); False where it does not exist (not Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends; end now if ``parent`` (a pid) is gone
    already.

    The kernel forgets this wish when the credentials change: call it again after entering a user
    namespace.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def become_child(job: Job, parent: int | None = None, *, begun: bool = False) -> None:
    """Own session, parent's death, default signals, closed input, output to ``output.log``,
    environment.

    ``parent`` is the zygote's pid after a fork, None in a fresh process. ``begun``: the environment
    is this job's already, and its program may have changed it since.
    """
    global start
    start = "fresh" if parent is None else "prepared" if begun else "imports"
    if os.getpgrp() != os.getpid():
        os.setsid()
    if parent is None:
        # ``python -m`` put the start folder first; the program's own folder belongs there.
        del sys.path[0]
    die_with_parent(parent)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as in every Python program
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    redirect_output(job)
    if not begun:
        os.environ.update(run_environment(job.threads))
        os.environ.update(job.environment)


def redirect_output(job: Job) -> None:
    """Point descriptors 0, 1 and 2 at nothing and at the run's ``output.log``."""
    job.folder.mkdir(parents=True, exist_ok=True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    empty = os.open(os.devnull, os.O_RDONLY)
    log = os.open(job.folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((empty, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(empty)
    os.close(log)
