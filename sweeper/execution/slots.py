"""Slots: how many runs go on at once and on what (the only file that names joblib).

One joblib ``threading`` job per slot, each a loop of next job -> run it in a child process ->
report. The threads only wait for children, so the interpreter lock does not matter, and a child
that dies breaks nothing here.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from joblib import Parallel, delayed

from sweeper.types import Job, Outcome

QUERY_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A device, or a share of one, that runs one job at a time."""

    index: int
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    def place(self, job: Job) -> Job:
        """The job as it runs here."""
        environment = {**job.environment, **self.environment}
        return replace(job, environment=environment, threads=self.threads)


def gpu_ids() -> tuple[str, ...]:
    """UUIDs of the GPUs that the user lets us see, asked of nvidia-smi so that the driver touches
    no CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(part.strip() for part in visible.split(",") if part.strip() not in ("", "-1"))
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=QUERY_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    # "GPU 0: NVIDIA H200 (UUID: GPU-1234...)"; MIG parts are indented lines and not used by
    # themselves.
    lines = [line for line in listing.splitlines() if line.startswith("GPU ")]
    return tuple(line.rpartition("UUID: ")[2].rstrip(")") for line in lines)


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_slots(count: int | None = None) -> tuple[Slot, ...]:
    """One slot per GPU when there are GPUs, else one per core; ``count`` overrides the number."""
    devices = gpu_ids()
    cores = core_count()
    n = count if count is not None else len(devices) or cores
    return tuple(
        Slot(
            index=i,
            threads=max(1, cores // n) if devices else 1,
            environment={"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]} if devices else {},
        )
        for i in range(n)
    )


class _Fan:
    """Shared state of the slot loops; ``changed`` guards it and the caller's two functions."""

    def __init__(
        self,
        next_job: Callable[[], Job | None],
        done: Callable[[Job, Outcome], None],
        run: Callable[[Job], Outcome],
    ) -> None:
        self.next_job = next_job
        self.done = done
        self.run = run
        self.changed = threading.Condition(threading.Lock())
        self.running = 0
        self.active = 0
        self.stopped = False
        self.error: BaseException | None = None

    def loop(self, slot: Slot) -> None:
        """Take jobs until there are none and none under way that could lead to more."""
        with self.changed:
            self.active += 1
        try:
            while (job := self._take()) is not None:
                self._work(job, slot)
        except BaseException as error:
            self._stop(error)
        finally:
            with self.changed:
                self.active -= 1
                self.changed.notify_all()

    def _take(self) -> Job | None:
        with self.changed:
            while not self.stopped:
                job = self.next_job()
                if job is not None:
                    self.running += 1
                    return job
                if self.running == 0:
                    self.changed.notify_all()
                    return None
                self.changed.wait()
            return None

    def _work(self, job: Job, slot: Slot) -> None:
        outcome: Outcome | None = None
        try:
            outcome = self.run(slot.place(job))
        finally:
            with self.changed:
                self.running -= 1
                try:
                    if outcome is not None:
                        self.done(job, outcome)
                finally:
                    self.changed.notify_all()

    def _stop(self, error: BaseException) -> None:
        with self.changed:
            self.stopped = True
            self.error = self.error or error
            self.changed.notify_all()


def fan_out(
    next_job: Callable[[], Job | None],
    done: Callable[[Job, Outcome], None],
    slots: int | Sequence[Slot],
    run: Callable[[Job], Outcome],
    cancel: Callable[[], None] | None = None,
) -> None:
    """Run jobs on slots until ``next_job`` gives None while nothing runs.

    ``next_job`` returning None means "nothing now": it is asked again after each end. ``next_job``
    and ``done`` are called under one lock, so they may touch the study. The first exception of any
    of the three stops the handing out, the runs under way are reported, and it is raised here. On
    Ctrl-C ``cancel`` (if given) ends the runs under way; a second Ctrl-C does not wait for them.
    """
    chosen = [Slot(index=i) for i in range(slots)] if isinstance(slots, int) else list(slots)
    fan = _Fan(next_job, done, run)
    try:
        Parallel(n_jobs=len(chosen), backend="threading", batch_size=1)(
            delayed(fan.loop)(slot) for slot in chosen
        )
    except KeyboardInterrupt as interrupt:
        fan._stop(interrupt)
        if cancel is not None:
            cancel()
        with fan.changed:
            while fan.active > 0:
                fan.changed.wait()
    if fan.error is not None:
        raise fan.error
