"""A program run once up to its fork point, and forked there for each run.

The zygote forks the template; it runs the program under an overlay of its own, without a session,
until the first thing that may differ among runs (`sweeper.program.fork_point`). There it waits, a
fork server as the zygote is, with the same protocol. A child becomes the run it was asked for -
folder, containment, watch, seams, the seeds that the program had set, shifted for the run - and
goes on inside the very call that ended the common part.

Anything that speaks against it ends the template with ``{"unsafe": reason}``: runs then start from
the program's first line.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from sweeper.execution.child import become_child, die_with_parent
from sweeper.execution.jobs import OUTPUT, read_job
from sweeper.execution.worker import Run, enter, execute
from sweeper.execution.zygote import ForkServer
from sweeper.types import Job

_REFUSED = 3


class _Started(BaseException):
    """In a child: on the way from the fork into its run."""

    def __init__(self, request: dict[str, Any], parent: int) -> None:
        self.request, self.parent = request, parent


class Template(ForkServer):
    """``job`` is any run of the program; its folder is the template's own."""

    def __init__(self, job: Job, connection: socket.socket) -> None:
        super().__init__(connection)
        self.job = job
        self.run: Run | None = None
        self.seconds = 0.0

    def prepare(self, parent: int) -> None:
        """Run the program; returns in children only, when their program has ended."""
        become_child(self.job, parent)
        import torch

        from sweeper.program import seeds
        from sweeper.program._namespace import Unavailable
        from sweeper.program.containment import Provisional
        from sweeper.program.fork_point import ForkPoint
        from sweeper.program.trackers import disable_trackers, force_offline

        scratch = self.job.folder / "scratch"
        try:
            self.provisional = Provisional(scratch, [self.job.folder], self.job.program.cwd)
        except (Unavailable, OSError) as error:
            self._refuse(f"files need an overlay: {error}")
        disable_trackers(os.environ, scratch / "trackers")
        force_offline(scratch / "trackers")
        die_with_parent()  # entering a user namespace may have made the kernel forget it
        torch.set_num_threads(1)
        seeds.start(0)
        enter(self.job.program)
        self.environment = dict(os.environ)
        self.point = ForkPoint(self._reached)
        self.started = time.monotonic()
        error_: BaseException | None = None
        self.point.arm()
        try:
            execute(self.job.program)
        except BaseException as raised:
            error_ = raised
        if self.run is None:
            self._refuse("the program ended before it came to a point to fork at")
        else:
            self.run.end(error_)

    def _reached(self, reason: str) -> None:
        """At the fork point. Returns in children only."""
        _flush()
        objection = self.point.objection() or self._objection()
        if objection:
            self._refuse(objection)
        self.seconds = time.monotonic() - self.started
        self._send({"ready": True, "imported": [], "seconds": self.seconds, "reason": reason})
        try:
            self.serve()
        except _Started as started:
            self._become(read_job(Path(started.request["job"])), started.parent)
        else:
            os._exit(0)

    def _objection(self) -> str:
        if path := self.provisional.written():
            return f"a library writes files past Python: {path.rpartition('/scratch/files')[2]}"
        frame = sys._getframe(1)
        while frame.f_back is not None:
            frame = frame.f_back
            if frame.f_globals.get("__name__") == "logging":
                return "a log is being written or opened, whose locks a fork makes anew"
        return ""

    def _child(self, request: dict[str, Any], parent: int) -> None:
        self._close()
        raise _Started(request, parent)

    def _become(self, job: Job, parent: int) -> None:
        import torch

        self.point.leave()
        self.provisional.leave()
        with (job.folder / OUTPUT).open("ab") as log:
            log.write((self.job.folder / OUTPUT).read_bytes())
        become_child(job, parent, begun=True)
        changed, gone = self._changes()
        dtype = torch.get_default_dtype()
        with torch.enable_grad():
            torch.set_default_dtype(torch.float32)
            self.run = Run(job, earlier=self.seconds)
            for name in gone:
                os.environ.pop(name, None)
            os.environ.update(changed)
            os.chdir(job.program.cwd)
            try:
                self.run.begin()
            except BaseException as error:
                self.run.end(error)
                _flush()
                os._exit(0)
            torch.set_default_dtype(dtype)
        self.point.seed_again()

    def _changes(self) -> tuple[dict[str, str], list[str]]:
        """What the program has set in its environment, and what it has taken out."""
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        changed = {k: v for k, v in kept.items() if self.environment.get(k) != v}
        return changed, [name for name in self.environment if name not in os.environ]

    def _refuse(self, reason: str) -> None:
        self._send({"unsafe": reason})
        os._exit(_REFUSED)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def main(job: Job, connection: socket.socket, parent: int) -> None:
    """In a child of the zygote; ``parent`` is its pid."""
    Template(job, connection).prepare(parent)
