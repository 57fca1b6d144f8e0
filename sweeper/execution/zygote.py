"""The zygote: an import-warm server that forks one child per run.

``python -m sweeper.execution.zygote DESCRIPTOR SOURCE``. It imports torch and what the program
imports once, then waits. Protocol, one JSON object per line over the socket whose descriptor is the
first argument; the second is the program's source file, empty to preload nothing of it:

    zygote -> driver   {"ready": true, "imported": [...], "seconds": s}
                       {"unsafe": reason}, after which it ends
    driver -> zygote   {"run": id, "job": path of job.json}
                       {"run": id, "signal": number}
                       {"template": id, "job": path}, with a descriptor: fork a process that runs
                       the job's program up to its fork point and then serves runs over that
                       descriptor (`sweeper.execution.template`)
                       {"template": id, "end": true}
    zygote -> driver   {"run": id, "pid": pid, "started": time.time()}
                       {"run": id, "pid": pid, "status": wait status, "seconds": s}
                       {"run": id, "error": reason}

The driver's end of the socket closing means that the driver is gone: every process group is then
killed. A fork is safe only from a single-threaded process that has not touched CUDA, so both are
checked before anything is forked.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sweeper.execution import imports
from sweeper.execution.child import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, become_child, prctl
from sweeper.execution.jobs import read_job

WORKER_VARIABLE = "SWEEPER_WORKER"
"""Names another worker module than the real one; tests run trivial jobs with it."""


def worker_module() -> Any:
    """The module with ``preload()`` and ``run_job(job)``."""
    return importlib.import_module(os.environ.get(WORKER_VARIABLE, "sweeper.execution.worker"))


def unsafe_reason() -> str:
    """Why this process must not fork, or the empty string."""
    tasks = Path("/proc/self/task")
    threads = len(list(tasks.iterdir())) if tasks.exists() else _python_threads()
    if threads > 1:
        return f"{threads} threads are alive after the imports"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is initialised after the imports"
    return ""


def _python_threads() -> int:
    import threading

    return threading.active_count()


class ForkServer:
    """Forks children on request and reports their ends; single-threaded throughout."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pid = os.getpid()
        self.runs: dict[int, tuple[int, float]] = {}
        self.templates: dict[int, int] = {}
        """Pid -> id."""
        self.buffer = b""
        self.received: list[int] = []
        self.wake_read, self.wake_write = os.pipe()
        for end in (self.wake_read, self.wake_write):
            os.set_blocking(end, False)

    def serve(self) -> None:
        """Loop until the driver's end closes, then end every child."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        # Children of children whose parent ended become ours, so that they can be ended too.
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        prctl(PR_SET_PDEATHSIG, 0)
        try:
            while self._turn():
                pass
        finally:
            if os.getpid() == self.pid:  # else a child is on its way into its run
                self._end_all()

    def _turn(self) -> bool:
        socket_end = self.connection.fileno()
        ready, _, _ = select.select([socket_end, self.wake_read], [], [], 1.0)
        if self.wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self.wake_read, 4096)
        self._reap()
        if socket_end in ready:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.connection, 65536, 8)
            except OSError:
                return False
            if not data:
                return False
            self.received += descriptors
            self.buffer += data
            *lines, self.buffer = self.buffer.split(b"\n")
            for line in lines:
                self._obey(json.loads(line))
        return True

    def _obey(self, request: dict[str, Any]) -> None:
        if "signal" in request:
            self._signal(request["run"], request["signal"])
        elif "end" in request:
            for pid, number in self.templates.items():
                if number == request["template"]:
                    kill_group(pid)
        elif "template" in request:
            self._fork_template(request, self.received.pop(0))
        else:
            self._fork(request)

    def _signal(self, run: int, number: int) -> None:
        """Signal a run's process group; done here because only here the pid cannot have been
        reused."""
        for pid, (owner, _) in self.runs.items():
            if owner == run:
                kill_group(pid, number)

    def _fork(self, request: dict[str, Any]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._send({"run": request["run"], "error": f"fork failed: {error}"})
            return
        if pid == 0:
            self._child(request, parent)
        self.runs[pid] = (request["run"], time.monotonic())
        self._send({"run": request["run"], "pid": pid, "started": time.time()})

    def _fork_template(self, request: dict[str, Any], descriptor: int) -> None:
        connection, parent = socket.socket(fileno=descriptor), os.getpid()
        try:
            pid = os.fork()
        except OSError:
            pid = -1  # the driver sees its connection end
        if pid == 0:
            self._template(request, connection, parent)
        connection.close()
        if pid > 0:
            self.templates[pid] = request["template"]

    def _close(self) -> None:
        """In a child: it serves nobody."""
        signal.set_wakeup_fd(-1)
        for end in (self.wake_read, self.wake_write):
            os.close(end)
        self.connection.close()

    def _child(self, request: dict[str, Any], parent: int) -> None:
        """In a child: the run. Does not return to the caller."""
        raise NotImplementedError

    def _template(
        self, request: dict[str, Any], connection: socket.socket, parent: int
    ) -> NoReturn:
        """In a child: the program up to its fork point."""
        raise NotImplementedError

    def _reap(self) -> None:
        """Report every child that ended; its process group is killed while its pid still cannot be
        reused."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            if pid in self.runs or pid in self.templates:
                kill_group(pid)
            _, status = os.waitpid(pid, 0)
            self.templates.pop(pid, None)
            if pid in self.runs:
                run, start = self.runs.pop(pid)
                if not self.runs:
                    self._end_adopted()
                seconds = time.monotonic() - start
                self._send({"run": run, "pid": pid, "status": status, "seconds": seconds})

    def _end_adopted(self) -> None:
        """Kill processes that escaped their run's group; only while no run is alive, as they name
        no owner."""
        for pid in _children():
            if pid not in self.runs and pid not in self.templates:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _end_all(self) -> None:
        for pid in (*self.runs, *self.templates):
            kill_group(pid)
        limit = time.monotonic() + 2.0
        while time.monotonic() < limit:
            for pid in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(0.005)
            except ChildProcessError:
                return

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a closed driver is noticed by the next turn
            self.connection.sendall(json.dumps(message).encode() + b"\n")


class Zygote(ForkServer):
    """Its children have imported what runs need, and nothing else."""

    def __init__(self, connection: socket.socket, worker: Any) -> None:
        super().__init__(connection)
        self.worker = worker

    def _child(self, request: dict[str, Any], parent: int) -> None:
        def run() -> None:
            self._close()
            job = read_job(Path(request["job"]))
            become_child(job, parent)
            self.worker.run_job(job)

        end_with(run)

    def _template(
        self, request: dict[str, Any], connection: socket.socket, parent: int
    ) -> NoReturn:
        def serve() -> None:
            from sweeper.execution import template

            self._close()
            template.main(read_job(Path(request["job"])), connection, parent)

        end_with(serve)


def end_with(work: Callable[[], None]) -> NoReturn:
    """Do it, and end this process whatever becomes of it."""
    code = 70
    try:
        work()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a child's process group, and the child itself in case it has no session yet."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(pid, number)


def _children() -> list[int]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def main(argv: list[str]) -> int:
    """Entry: DESCRIPTOR of the socket, SOURCE file of the program or an empty string."""
    start = time.monotonic()
    connection = socket.socket(fileno=int(argv[0]))
    # While imports run nobody watches the socket; once serving, its end is noticed and the children
    # are ended.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # ``python -m`` put the start folder first; a run puts the program's own folder there.
    del sys.path[0]
    worker = worker_module()
    worker.preload()
    done = imports.preload(Path(argv[1])) if argv[1] else []
    # What exists now lives as long as we do: children need not copy it just to count references in
    # a collection.
    gc.collect()
    gc.freeze()
    zygote = Zygote(connection, worker)
    reason = unsafe_reason()
    if reason:
        zygote._send({"unsafe": reason})
        return 3
    zygote._send({"ready": True, "imported": done, "seconds": time.monotonic() - start})
    zygote.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
