"""Child processes under way: forked from the zygote, or fresh; the supervisor treats them alike."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from sweeper.execution.child import run_environment
from sweeper.execution.jobs import OUTPUT
from sweeper.execution.warm import PACKAGE_PARENT, Child, ZygoteProcess
from sweeper.execution.zygote import WORKER_VARIABLE, kill_group
from sweeper.types import Job


class Handle(Protocol):
    """A child process under way."""

    def wait(self, seconds: float) -> bool: ...
    def signal(self, number: int) -> None: ...

    @property
    def lost(self) -> bool: ...
    @property
    def code(self) -> int: ...
    @property
    def pid(self) -> int: ...


class Forked:
    """A child of the zygote; the zygote reaps it and ends its group."""

    def __init__(self, zygote: ZygoteProcess, child: Child) -> None:
        self._zygote = zygote
        self._child = child

    def wait(self, seconds: float) -> bool:
        return self._child.ended.wait(seconds)

    def signal(self, number: int) -> None:
        self._zygote.signal(self._child, number)

    @property
    def lost(self) -> bool:
        return self._child.lost or bool(self._child.error)

    @property
    def code(self) -> int:
        status = self._child.status
        return 70 if status is None else os.waitstatus_to_exitcode(status)

    @property
    def pid(self) -> int:
        """0 until the zygote has forked it."""
        return self._child.pid


class Fresh:
    """A new interpreter; reaped here, after its group was ended while its pid cannot be reused."""

    lost = False

    def __init__(self, job: Job, path: Path) -> None:
        worker = os.environ.get(WORKER_VARIABLE, "sweeper.execution.worker")
        with (job.folder / OUTPUT).open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", worker, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=PACKAGE_PARENT,
                env={**os.environ, **run_environment(job.threads), **job.environment},
                start_new_session=True,
            )

    def wait(self, seconds: float) -> bool:
        if self._process.returncode is not None:
            return True
        if not self._ended(seconds):
            return False
        kill_group(self._process.pid)
        self._process.wait()
        return True

    def _ended(self, seconds: float) -> bool:
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self._process.pid)
            try:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                return bool(poll.poll(max(0.0, seconds) * 1000.0))
            finally:
                os.close(descriptor)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def signal(self, number: int) -> None:
        if self._process.returncode is None:
            kill_group(self._process.pid, number)

    @property
    def code(self) -> int:
        return self._process.returncode if self._process.returncode is not None else 70

    @property
    def pid(self) -> int:
        return self._process.pid
