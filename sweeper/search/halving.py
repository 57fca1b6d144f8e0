"""Successive halving: of long runs, only those among the best third so far are made to their end.

Asynchronous (ASHA, Li et al. 2020): a run is held against those that reached the same rung before
it began, and nothing waits for others. Programs cannot be resumed, so that a run which falls behind
is stopped, and none is begun again to be promoted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sweeper.detectors.skill import UNEQUAL
from sweeper.types import Facts, Fix

ETA = 3
"""One run of so many goes on from a rung; the steps grow by as much (Li et al. 2020 use 3 or 4)."""
OTHER_LOSS = frozenset({"class_weights", "drop_output_softmax", "label_smoothing", "loss"})
"""Remedies under which the loss counts something else."""

Measure = Literal["", "accuracy", "task_loss"]
Rungs = tuple[tuple[int, float], ...]


def rungs_below(steps: int, least: int) -> tuple[int, ...]:
    """Rungs of a run of ``steps``, none under ``least``: a third of it, a ninth, ..., ascending."""
    found = []
    while (steps := steps // ETA) >= least:
        found.append(steps)
    return tuple(reversed(found))


def compared_by(facts: Facts) -> Measure:
    """The series by which trials of this program are compared on their way; empty where none is
    fair: of very unequal classes neither accuracy nor a weighted loss says enough."""
    if facts.task in ("classification", "binary"):
        return "accuracy" if max(facts.class_prior, default=1.0) < UNEQUAL else ""
    return "task_loss" if facts.task in ("regression", "language_model") else ""


@dataclass
class Halving:
    """What is known of the rungs. The driver alone calls it.

    Args:
        rungs: steps, ascending.
        by: from `compared_by`.
    """

    rungs: tuple[int, ...]
    by: Measure
    _known: dict[int, list[float]] = field(default_factory=dict)

    def bars(self, fix: Fix, samples_ratio: float = 1.0) -> Rungs:
        """Steps and least standings for a run that begins now, -inf as long as fewer than `ETA`
        runs are known there; a larger batch reaches a rung in fewer steps."""
        if not self._compares(fix):
            return ()
        return tuple(
            (max(1, math.ceil(step / samples_ratio)), self._bar(place))
            for place, step in enumerate(self.rungs)
        )

    def told(self, fix: Fix, standings: tuple[float, ...]) -> None:
        """Take in how a run stood at the rungs that it reached."""
        if not self._compares(fix):
            return
        for place, value in enumerate(standings):
            if not math.isnan(value):
                self._known.setdefault(place, []).append(value)

    def _compares(self, fix: Fix) -> bool:
        return bool(self.by) and (self.by == "accuracy" or not OTHER_LOSS & fix.changes.keys())

    def _bar(self, place: int) -> float:
        """The best third of the runs known here and the one that begins."""
        known = sorted(self._known.get(place, ()), reverse=True)
        return known[(len(known) + 1) // ETA - 1] if len(known) >= ETA else -math.inf
