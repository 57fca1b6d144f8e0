"""Slots: how many runs go on at once and on what (the only file that names joblib).

One joblib ``threading`` job per slot, each a loop of next job -> run it in a child process ->
report. The threads only wait for children, so the interpreter lock does not matter, and a child
that dies breaks nothing here.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from joblib import Parallel, delayed

from sweeper.execution.devices import chosen_devices
from sweeper.execution.memory import usable_memory
from sweeper.types import Job, Outcome, UsageError

PACKING = 1.5
"""A remedy such as a normalisation layer may make a run larger than the baseline was."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A device, or a share of one, that runs one job at a time."""

    index: int
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: int = 0
    """Bytes of host memory that a run may hold here; 0 is without limit."""

    def place(self, job: Job) -> Job:
        """The job as it runs here."""
        environment = {**job.environment, **self.environment}
        return replace(
            job, environment=environment, threads=self.threads,
            memory_bytes=job.memory_bytes or self.memory,
        )  # fmt: skip


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_slots(
    count: int | None = None,
    *,
    devices: str | None = None,
    per_device: int = 1,
    peak_memory: int = 0,
) -> tuple[Slot, ...]:
    """``per_device`` slots on each GPU, else one per core as far as the memory goes.

    Args:
        count: overrides the number.
        devices: ``--devices``; see `chosen_devices`.
        peak_memory: bytes that a run held; 0 for unknown.

    Raises:
        UsageError: no such device, or more slots asked for than the memory holds.
    """
    chosen = chosen_devices(devices)
    if per_device > 1 and not chosen:
        raise UsageError(f"--trials-per-gpu needs a GPU, got {per_device} on a machine without one")
    cores, memory = core_count(), usable_memory()
    fitting = memory / peak_memory if memory and peak_memory else math.inf
    if count is not None and count > max(1.0, fitting):
        raise UsageError(
            f"--slots must fit the memory, got {count} where {int(fitting)} runs of "
            f"{peak_memory / 2**20:.0f} MiB each fill {memory / 2**20:.0f} MiB"
        )
    n = count
    if n is None and chosen:
        n = len(chosen) * per_device
    if n is None:
        n = max(1, int(min(cores, fitting / PACKING)))
    pinned = [{"CUDA_VISIBLE_DEVICES": name} for name in chosen]
    hidden: dict[str, str] = {} if devices is None else {"CUDA_VISIBLE_DEVICES": ""}
    return tuple(
        Slot(
            index=i,
            threads=max(1, cores // n) if chosen else 1,
            environment=pinned[i % len(pinned)] if chosen else hidden,
            memory=memory // n,
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
