"""Client of the zygote: starts it, asks it for children, notices when it dies.

One zygote serves one driver and one program. When its imports leave threads or CUDA behind it is
started again without the program's imports; when it dies it is started again once; after that the
caller runs fresh processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from sweeper.execution.child import run_environment

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
"""Where ``import sweeper`` finds us; children start there, installed or not."""

START_SECONDS = 180.0
"""Longest wait for the zygote's imports; a program whose import hangs is then left to fresh
processes."""


class WarmUnavailableError(Exception):
    """No zygote can be had; the reason is the message."""


class Child:
    """One forked run, as the zygote reports it."""

    def __init__(self, run: int) -> None:
        self.run = run
        self.pid = 0
        self.status: int | None = None
        self.seconds = 0.0
        self.error = ""
        self.lost = False
        """The zygote died first; the kernel has killed the child."""
        self.ended = threading.Event()


class ZygoteProcess:
    """One zygote and the thread that spawned it, reads from it and ends with it.

    The spawning thread must live as long as the zygote: the kernel ties the parent-death signal to
    a thread.
    """

    def __init__(self, source: Path | None, log: Path | None) -> None:
        self.source = source
        self.log = log
        self.reason = ""
        self.unsafe = False
        self.alive = True
        self.ready = threading.Event()
        self.imported: list[str] = []
        self.seconds = 0.0
        """What its imports took, or its program up to the fork point."""
        self.came_to = ""
        """What ends the common part of the runs, of a template."""
        self.pid = 0
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._next = 0
        self._ours, self._theirs = socket.socketpair()
        self._thread = threading.Thread(target=self._live, name="sweeper-zygote", daemon=True)
        self._thread.start()

    def submit(self, job_path: Path) -> Child:
        """Ask for a child; WarmUnavailableError when the zygote is gone."""
        with self._lock:
            if not self.alive:
                raise WarmUnavailableError(self.reason)
            self._next += 1
            child = Child(self._next)
            self._children[child.run] = child
        self._send({"run": child.run, "job": str(job_path)})
        return child

    def signal(self, child: Child, number: int) -> None:
        """Signal the child's process group."""
        self._send({"run": child.run, "signal": number})

    def wait_ready(self) -> bool:
        """Wait for the imports; False when the zygote is not there to fork."""
        if not self.ready.wait(START_SECONDS):
            self.reason = f"its imports took longer than {START_SECONDS:g} s"
            self.close()
        return self.alive

    def close(self) -> None:
        """End the zygote and every child of it; returns when they are gone."""
        if not self.ready.is_set() and self.pid:
            with contextlib.suppress(
                ProcessLookupError
            ):  # still importing: it would not notice the socket
                os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5.0)

    def fork_template(self, number: int, job_path: Path, descriptor: int) -> None:
        """Have a template forked that answers over the descriptor."""
        self._send({"template": number, "job": str(job_path)}, descriptor)

    def end_template(self, number: int) -> None:
        """End one that has not answered yet."""
        self._send({"template": number, "end": True})

    def _send(self, message: dict[str, Any], *descriptors: int) -> None:
        line = json.dumps(message).encode() + b"\n"
        with contextlib.suppress(OSError), self._sending:  # the reader marks every child lost
            if descriptors:
                socket.send_fds(self._ours, [line], descriptors)
            else:
                self._ours.sendall(line)

    def _live(self) -> None:
        process = None
        try:
            process = self._spawn()
            self.pid = process.pid if process else 0
            with self._ours.makefile("rb") as lines:
                for line in lines:
                    self._receive(json.loads(line))
        except (OSError, ValueError) as error:
            self.reason = self.reason or f"{type(error).__name__}: {error}"
        finally:
            self._finish(process)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        """Start the process; None where somebody else reaps it."""
        environment = {**os.environ, **run_environment(1)}
        output = (
            subprocess.DEVNULL
            if self.log is None
            else os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        )
        try:
            return subprocess.Popen(
                [
                    sys.executable, "-m", "sweeper.execution.zygote",
                    str(self._theirs.fileno()), "" if self.source is None else str(self.source),
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=PACKAGE_PARENT,
                env=environment, pass_fds=[self._theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        finally:
            self._theirs.close()
            if output >= 0:
                os.close(output)

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("ready"):
            self.imported = message["imported"]
            self.seconds = message["seconds"]
            self.came_to = message.get("reason", "")
            self.ready.set()
            return
        if "unsafe" in message:
            self.unsafe = True
            self.reason = message["unsafe"]
            return
        with self._lock:
            child = self._children.get(message["run"])
        if child is None:
            return
        child.pid = message.get("pid", child.pid)
        if "status" in message or "error" in message:
            child.status = message.get("status")
            child.seconds = message.get("seconds", 0.0)
            child.error = message.get("error", "")
            self._forget(child)

    def _forget(self, child: Child) -> None:
        with self._lock:
            self._children.pop(child.run, None)
        child.ended.set()

    def _finish(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            try:
                code = process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            self.reason = self.reason or f"the zygote ended with status {code}"
        self.reason = self.reason or "it was killed"
        with self._lock:
            self.alive = False
            left = list(self._children.values())
        for child in left:
            child.lost = True
            self._forget(child)
        self._ours.close()
        self.ready.set()


class Warm:
    """A zygote that is started when first needed and again after its first death."""

    DEATHS = 2
    """How many zygotes may die by themselves before none is started any more."""

    def __init__(self, source: Path | None, log: Path | None = None) -> None:
        self._source = source
        self._log = log
        self._lock = threading.Lock()
        self._zygote: ZygoteProcess | None = None
        self._deaths = 0
        self._closed = False
        self.notes: list[str] = []
        """Why the zygote was started again or given up, for the report."""

    def start(self) -> ZygoteProcess:
        """The living, ready zygote; WarmUnavailableError when none can be had."""
        with self._lock:
            while not self._closed and self._deaths < self.DEATHS:
                zygote = self._zygote
                if zygote is None:
                    self._zygote = ZygoteProcess(self._source, self._log)
                elif zygote.wait_ready():
                    return zygote
                else:
                    self._bury(zygote)
            raise WarmUnavailableError(self.notes[-1] if self.notes else "closed")

    def _bury(self, zygote: ZygoteProcess) -> None:
        self._zygote = None
        if zygote.unsafe and zygote.source is not None:
            self.notes.append(f"the program's imports are not preloaded: {zygote.reason}")
            self._source = None
            return
        self._deaths = self.DEATHS if zygote.unsafe else self._deaths + 1
        self.notes.append(f"zygote lost: {zygote.reason}")

    def submit(self, job_path: Path) -> tuple[ZygoteProcess, Child]:
        """Fork a child for a job file."""
        zygote = self.start()
        return zygote, zygote.submit(job_path)

    def close(self) -> None:
        """End the zygote and its children; none is started again."""
        self._closed = True
        zygote = self._zygote
        if zygote is not None:
            zygote.close()
