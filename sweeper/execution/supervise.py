"""Supervision: run one job in a child process, whatever the child does, and say how it ended.

A run that crashes, hangs, is killed or leaves strays behind costs that run only. Children are
forked from the zygote where that is possible, else they are fresh processes; both enter the same
worker.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import sys
import threading
import time
from pathlib import Path

from sweeper.execution.handles import Forked, Fresh, Handle
from sweeper.execution.jobs import (
    NO_SPACE,
    REPEATABLE,
    forget,
    log_tail,
    made,
    prepare_folder,
    read_outcome,
    write_outcome,
)
from sweeper.execution.pulse import read_pulse
from sweeper.execution.templates import Templates
from sweeper.execution.warm import Warm, WarmUnavailableError
from sweeper.execution.watchdog import Ending, watch
from sweeper.program.containment import discard
from sweeper.program.side_effects import was_refused
from sweeper.types import Job, Outcome, Program

GRACE_SECONDS = 3.0
"""From SIGTERM to SIGKILL, for the program's own clean-up."""

RETRIES = 3
FULL_BYTES = 2**20
"""Free bytes below which a disk counts as full."""

_MEMORY_WORDS = (
    "MemoryError",
    "OutOfMemoryError",
    "out of memory",
    "Cannot allocate memory",
    "can't allocate memory",
)


class Supervisor:
    """Runs jobs; thread-safe, one call per slot at a time.

    ``program`` names the source whose imports the zygote preloads. ``warm=False`` runs fresh
    processes only; ``templates=False`` runs every program from its first line. ``retries`` is how
    often a run that somebody killed, or that ended for reasons of infrastructure, is made again at
    once.
    """

    def __init__(
        self,
        program: Program | None = None,
        *,
        warm: bool = True,
        templates: bool = True,
        log: Path | None = None,
        retries: int = RETRIES,
    ) -> None:
        usable = warm and sys.platform.startswith("linux")
        self._warm = Warm(program.path if program else None, log) if usable else None
        self._templates: Templates | None = None
        if self._warm is not None and templates:
            self._templates = Templates(self._warm, self._warm.notes)
        self._retries = retries
        self._lock = threading.Lock()
        self._handles: set[Handle] = set()
        self._cancelled = False
        atexit.register(self.close)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report should know about how runs were started."""
        return tuple(self._warm.notes) if self._warm else ()

    def start(self) -> None:
        """Start the zygote ahead of the first run; harmless where there is none."""
        if self._warm is not None:
            with contextlib.suppress(WarmUnavailableError):
                self._warm.start()

    def prepare(self, job: Job) -> str:
        """Prepare the template for jobs like this one, and wait for it; why there is none, or the
        empty string."""
        return self._templates.prepare(job) if self._templates else "there is no warm start"

    def run(self, job: Job) -> Outcome:
        """Make the run, or return the outcome of the same run made before."""
        done = made(job)
        if done is not None and not (job.allow_side_effects and was_refused(job.folder)):
            return done
        outcome = Outcome(status="killed", error="cancelled")
        for _ in range(1 + self._retries):
            if self._cancelled:
                break
            outcome = self._attempt(job)
            if outcome.status not in REPEATABLE:
                break
        return outcome

    def cancel(self) -> None:
        """End every run under way and start no more; their outcomes say ``killed`` and are not
        kept."""
        with self._lock:
            self._cancelled = True
            handles = list(self._handles)
        for handle in handles:
            handle.signal(signal.SIGKILL)

    def close(self) -> None:
        """End every run and the zygote. Safe to call twice."""
        self.cancel()
        if self._templates is not None:
            self._templates.close()
        if self._warm is not None:
            self._warm.close()
        atexit.unregister(self.close)

    def _attempt(self, job: Job) -> Outcome:
        path = prepare_folder(job)
        kills = _kernel_kills()
        start = time.monotonic()
        try:
            handle = self._start(job, path)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            return Outcome(status="infrastructure", error=f"{type(error).__name__}: {error}")
        ending: Ending | None = None
        try:
            ending = watch(job, handle)
            if ending is not None:
                _end(handle)
        finally:
            # Reached with the child alive only when the wait itself was interrupted.
            if not handle.wait(0.0):
                handle.signal(signal.SIGKILL)
                handle.wait(GRACE_SECONDS)
            with self._lock:
                self._handles.discard(handle)
        seconds = time.monotonic() - start
        outcome = self._classify(job, handle, ending, seconds, _kernel_kills() > kills)
        _need_space(job.folder, outcome)
        if outcome.status not in REPEATABLE and read_outcome(job.folder) != outcome:
            write_outcome(job.folder, outcome)
        if job.fix.changes or job.seed:  # checkpoints of every trial would fill the disk
            discard(job.folder / "scratch")
        return outcome

    def _start(self, job: Job, path: Path) -> Handle:
        handle: Handle | None = None
        if self._warm is not None:
            try:
                child = self._templates.submit(job, path) if self._templates else None
                handle = Forked(*(child or self._warm.submit(path)))
            except WarmUnavailableError:
                handle = None
        if handle is None:
            handle = Fresh(job, path)
        with self._lock:
            self._handles.add(handle)
            cancelled = self._cancelled
        if cancelled:
            handle.signal(signal.SIGKILL)
        return handle

    def _classify(
        self,
        job: Job,
        handle: Handle,
        ending: Ending | None,
        seconds: float,
        kernel_killed: bool,
    ) -> Outcome:
        written = read_outcome(job.folder)
        if written is not None and (written.ran or ending is None):
            return written
        if ending is not None:
            beat = read_pulse(job.folder)
            status, text = ending
            return Outcome(
                status=status, seconds=seconds, error=text, exit_code=handle.code,
                steps=beat.steps if beat else 0,
            )  # fmt: skip
        tail = log_tail(job.folder)
        code = handle.code
        if self._cancelled:
            return Outcome(status="killed", seconds=seconds, error="cancelled")
        if handle.lost:
            return Outcome(status="infrastructure", seconds=seconds, error="the zygote died")
        if code < 0:
            name = signal.Signals(-code).name
            out_of_memory = -code == signal.SIGKILL and kernel_killed
            if out_of_memory or any(word in tail for word in _MEMORY_WORDS):
                return Outcome(
                    status="out_of_memory",
                    seconds=seconds,
                    error=name,
                    traceback=tail,
                    exit_code=code,
                )
            # A signal that the program raises by itself, such as SIGSEGV, comes again when
            # repeated.
            outside = -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            return Outcome(
                status="killed" if outside else "program_error",
                seconds=seconds, error=f"ended by {name}", traceback=tail, exit_code=code,
            )  # fmt: skip
        if code and any(word in tail for word in _MEMORY_WORDS):
            return Outcome(
                status="out_of_memory", seconds=seconds, error="out of memory", traceback=tail,
                exit_code=code,
            )  # fmt: skip
        return Outcome(
            status="infrastructure", seconds=seconds, error=f"no outcome, exit status {code}",
            traceback=tail, exit_code=code,
        )  # fmt: skip


def _need_space(folder: Path, outcome: Outcome) -> None:
    """OSError when it is the full disk that ended the run, or that left holes in its record: this
    says nothing about the fix. The run is made again later."""
    told = (outcome.error, outcome.traceback, *outcome.watch_errors, log_tail(folder))
    words = [os.strerror(number) for number in NO_SPACE]
    if outcome.status != "infrastructure" and not any(w in text for w in words for text in told):
        return
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < FULL_BYTES:
        forget(folder)
        discard(folder / "scratch")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _end(handle: Handle) -> None:
    """SIGTERM to the group, a moment for ``finally`` blocks, SIGKILL."""
    handle.signal(signal.SIGTERM)
    if not handle.wait(GRACE_SECONDS):
        handle.signal(signal.SIGKILL)
        handle.wait(GRACE_SECONDS)


def _kernel_kills() -> int:
    """How many processes the kernel killed for want of memory so far: in our control group, else
    anywhere."""
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in path.read_text(encoding="ascii").splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0
