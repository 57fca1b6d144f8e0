"""Where runs are made: this machine or a Ray cluster; the study cannot tell them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sweeper.execution.memory import usable_memory
from sweeper.execution.slots import Slot, make_slots
from sweeper.execution.supervise import Supervisor
from sweeper.types import Job, Outcome, Program


class Runner(Protocol):
    """Makes runs and says how many at once. Thread-safe."""

    def run(self, job: Job) -> Outcome:
        """Make the run, or return the outcome of the same run made before."""

    def slots(self, peak_memory: int = 0) -> tuple[Slot, ...]:
        """Where runs go on at once; ``peak_memory`` is what one held, in bytes, 0 for unknown."""

    def first(self) -> Slot:
        """One slot, for a run that is made alone."""

    def cancel(self) -> None:
        """End every run under way and start no more."""

    def close(self) -> None:
        """The same, and give back everything that was started. Safe to call twice."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report should know about how runs were made."""


class Local(Supervisor):
    """This machine: one slot per GPU, else per core."""

    def __init__(
        self,
        program: Program,
        *,
        warm: bool = True,
        log: Path | None = None,
        count: int | None = None,
        devices: str | None = None,
        per_device: int = 1,
    ) -> None:
        """Raises UsageError for devices that are not there."""
        self._count, self._devices, self._per_device = count, devices, per_device
        self._first = make_slots(1, devices=devices, per_device=per_device)[0]
        super().__init__(program, warm=warm, log=log)

    def slots(self, peak_memory: int = 0) -> tuple[Slot, ...]:
        slots = make_slots(
            self._count, devices=self._devices, per_device=self._per_device,
            peak_memory=peak_memory,
        )  # fmt: skip
        if self._templates is not None and (usable := usable_memory()):
            self._templates.room = (len(slots) + 1) * peak_memory <= usable
        return slots

    def first(self) -> Slot:
        return self._first
