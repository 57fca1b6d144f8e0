"""The study lock: one driver per study folder.

flock(2) on a file that names its holder. The kernel frees the lock when the holder ends, however it
ends, so a stale file never blocks anyone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from sweeper.types import UsageError

LOCK = "driver.lock"


class StudyLock:
    """``with StudyLock(folder):`` holds the study, or raises UsageError naming the driver that
    does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock now or raise UsageError; never waits."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder(descriptor)
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise UsageError(
                f"one driver per study, got a second one in {self.path.parent}: held by {holder}"
            ) from None
        text = json.dumps(
            {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
        )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode() + b"\n", 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the study back; the file stays, since removing it would let two drivers in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> StudyLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    @staticmethod
    def _holder(descriptor: int) -> str:
        try:
            data = json.loads(os.pread(descriptor, 4096, 0))
            return f"process {data['pid']} on {data['host']} since {data['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "an unnamed process"
