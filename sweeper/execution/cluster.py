"""Runs on a Ray cluster: one task per run, the record back in the study folder (extra
``sweeper[ray]``).

The driver keeps asking and telling; a task gets a job, makes the run on its node as the driver
would at home (same supervisor, warm start, containment, watchdog) and returns the record as bytes.
Ray makes a task again on another node when its worker or node dies. Not joblib's Ray back end: it
cannot give results back one by one and fails whole (measured).

The program travels only where it must: nodes that see the same file at the same path use it there;
else its working directory is shipped by Ray's runtime environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from sweeper import __version__
from sweeper.execution.jobs import (
    REPEATABLE,
    made,
    prepare_folder,
    write_job,
    write_outcome,
)
from sweeper.execution.memory import usable_memory
from sweeper.execution.parcel import pack, unpack
from sweeper.execution.slots import Slot, core_count
from sweeper.execution.supervise import Supervisor
from sweeper.execution.warm import PACKAGE_PARENT
from sweeper.types import Job, Outcome, Program, UsageError

LOCAL = "local"
"""``--ray`` without an address: a cluster of this machine alone."""
RETRIES = 3
"""How often a task is made again whose worker or node died."""
CONNECT_SECONDS = 5.0
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""An empty frame of settings: what both sides of HTTP/2, and so of gRPC, say first (RFC 9113,
3.4 and 4.1)."""
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
EXCLUDED = (".sweeper", ".git", ".venv", "venv", "__pycache__", "wandb", "mlruns", "node_modules")
"""What is not shipped of a working directory."""
STORE = 200 * 2**20
"""Bytes of a local cluster's object store: records are a megabyte at most."""


class Cluster:
    """A `Runner` over a Ray cluster."""

    def __init__(
        self,
        program: Program,
        address: str,
        *,
        warm: bool = True,
        count: int | None = None,
        per_device: int = 1,
    ) -> None:
        """Connect, or start a cluster of this machine for ``local``.

        Raises:
            UsageError: Ray is not installed, the address does not answer, there are no resources,
                or the program cannot travel.
        """
        if address != LOCAL:
            _answers(address)
        self._ray = _import_ray()
        self._program, self._warm = program, warm
        self._lock = threading.Lock()
        self._cancelled = False
        self._running: set[Any] = set()
        self._lost = 0
        self._count, self._per_device = count, per_device
        self._connect(address, {})
        try:
            resources = self._ray.cluster_resources()
            self._gpus, self._cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
            if not self._cpus:
                raise UsageError(f"--ray must name a cluster with CPUs, got {address} without any")
            if per_device > 1 and not self._gpus:
                raise UsageError(
                    f"--trials-per-gpu needs a GPU, got {per_device} on a cluster without one"
                )
            self._shipped = self._what_to_ship()
            if self._shipped:  # Ray takes folders when a driver connects, and only then
                self._ray.shutdown()
                self._connect(address, self._shipped)
            # The run is a process of its own: nothing is left in Ray's worker, which may go on.
            self._remote = self._ray.remote(max_calls=0)(_make_run)
        except BaseException:
            self.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        nodes = f"runs were made on a Ray cluster of {self._cpus} CPUs and {self._gpus} GPUs"
        how = "got the program shipped" if "working_dir" in self._shipped else "see its file"
        lost = (f"{self._lost} runs were lost with their nodes",) if self._lost else ()
        return (f"{nodes}, which {how}", *lost)

    def slots(self, peak_memory: int = 0) -> tuple[Slot, ...]:
        """One per GPU share, else one per CPU of the cluster; each node bounds its own memory."""
        n = self._count or self._gpus * self._per_device or self._cpus
        threads = max(1, self._cpus // n) if self._gpus else 1
        return tuple(Slot(index=i, threads=threads) for i in range(n))

    def first(self) -> Slot:
        return Slot(index=0)

    def run(self, job: Job) -> Outcome:
        """Make the run on some node and wait for it."""
        done = made(job)
        if done is not None:
            return done
        ref = self._remote.options(
            num_cpus=1,
            num_gpus=(1.0 / self._per_device if self._gpus else 0),
            max_retries=RETRIES,
            name=f"{job.fix.label} seed {job.seed}",
        ).remote(job, self._warm)
        with self._lock:
            self._running.add(ref)
            if self._cancelled:
                self._stop(ref)
        try:
            data, outcome = cast(tuple[bytes, Outcome], self._ray.get(ref))
        except self._ray.exceptions.TaskCancelledError:
            return Outcome(status="killed", error="cancelled")
        except self._ray.exceptions.RayError as error:
            if self._cancelled:
                return Outcome(status="killed", error="cancelled")
            self._lost += 1
            return Outcome(status="infrastructure", error=f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._running.discard(ref)
        prepare_folder(job)
        unpack(data, job.folder)
        write_job(job)  # as it was asked for here, not as it lay on the node
        return outcome

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            running = list(self._running)
        for ref in running:
            self._stop(ref)

    def close(self) -> None:
        self.cancel()
        with contextlib.suppress(Exception):
            self._ray.shutdown()

    def _stop(self, ref: Any) -> None:
        with contextlib.suppress(Exception):  # it has ended meanwhile
            self._ray.cancel(ref, force=True)

    def _connect(self, address: str, shipped: Mapping[str, Any]) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if shipped:
            options["runtime_env"] = dict(shipped)
        if address == LOCAL:
            options |= {"include_dashboard": False, "object_store_memory": STORE}
        else:
            options["address"] = address
        try:
            self._ray.init(**options)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            raise UsageError(
                f"--ray must name a cluster that can be joined, got {address}: "
                f"{type(error).__name__}: {lines[0]}"
            ) from None

    def _what_to_ship(self) -> dict[str, Any]:
        """The runtime environment of the tasks: nothing where every node has what it needs."""
        path, own = str(self._program.path), __version__

        def look() -> tuple[str, str]:  # pickled by value: a node may have no sweeper
            import hashlib
            import importlib.metadata
            import pathlib

            file = pathlib.Path(path)
            seen = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
            try:
                version = importlib.metadata.version("sweeper")
            except importlib.metadata.PackageNotFoundError:
                version = ""
            return seen, version

        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        ask = self._ray.remote(look)
        answers = self._ray.get([
            ask.options(
                num_cpus=0, scheduling_strategy=strategy(node_id=node["NodeID"], soft=False)
            ).remote()
            for node in self._ray.nodes() if node["Alive"]
        ])  # fmt: skip
        digest = hashlib.sha256(self._program.path.read_bytes()).hexdigest()
        shipped: dict[str, Any] = {}
        if any(version != own for _, version in answers):
            shipped["py_modules"] = [str(PACKAGE_PARENT / "sweeper")]
        if any(seen != digest for seen, _ in answers):
            shipped |= {"working_dir": str(self._program.cwd), "excludes": list(EXCLUDED)}
            if not self._program.path.is_relative_to(self._program.cwd):
                raise UsageError(
                    f"a program must lie under the working directory to be shipped to nodes that "
                    f"do not see it, got {self._program.path} in {self._program.cwd}"
                )
        return shipped


def _import_ray() -> ModuleType:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UsageError(f"--ray needs the extra sweeper[ray], got {error}") from None
    return cast(ModuleType, ray)


def _answers(address: str) -> None:
    """UsageError unless a gRPC server listens there; Ray itself would wait for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--ray must be host:port, ray://host:port or auto, got {address!r}")
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS) as there:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return  # nobody answers a plain greeting then
            there.settimeout(CONNECT_SECONDS)
            there.sendall(HELLO)
            said = there.recv(len(SETTINGS))
    except OSError as error:
        raise UsageError(
            f"--ray must name a cluster that answers, got {address}: {error}"
        ) from None
    if said[3:4] != SETTINGS[3:4]:
        raise UsageError(
            f"--ray must name a cluster that speaks gRPC, got {address}, which says {said!r}"
        )


_SUPERVISORS: dict[str, Supervisor] = {}
"""On a node: one per program, so that its warm start serves every task of this worker."""


def _make_run(job: Job, warm: bool) -> tuple[bytes, Outcome]:
    """On a node: make the run in a folder of this machine and return its record."""
    program = _here(job.program)
    pinned = os.environ.get("CUDA_VISIBLE_DEVICES")
    with tempfile.TemporaryDirectory(prefix="sweeper-run-", ignore_cleanup_errors=True) as folder:
        local = replace(
            job, program=program, folder=Path(folder) / job.folder.name,
            environment={
                **job.environment, **({"CUDA_VISIBLE_DEVICES": pinned} if pinned else {})
            },
            memory_bytes=job.memory_bytes or usable_memory() // max(1, core_count()),
        )  # fmt: skip
        runs = _SUPERVISORS.setdefault(
            program.identity, Supervisor(program, warm=warm, templates=False)
        )
        outcome = runs.run(local)
        if outcome.status not in REPEATABLE:
            write_outcome(local.folder, outcome)
        return pack(local.folder), outcome


def _here(program: Program) -> Program:
    """The program where this node has it: at the same path, or in the folder that was shipped."""
    if program.path.is_file() and not _shipped_here(program):
        return program
    root = Path.cwd()
    return replace(program, path=root / program.path.relative_to(program.cwd), cwd=root)


def _shipped_here(program: Program) -> bool:
    root = Path.cwd()
    return (
        program.path.is_relative_to(program.cwd)
        and (root / program.path.relative_to(program.cwd)).is_file()
        and "runtime_resources" in root.parts
    )
