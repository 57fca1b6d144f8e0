"""How a run stands at a few steps on its way, for trials that are held against one another.

A run stands as high as its answers were good over the last quarter before a rung: by the share of
right answers of training batches, else by the loss that it is trained with. It ends at a rung at
which others did better (successive halving: Jamieson and Talwalkar 2016; without waiting for one
another: Li et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WINDOW = 0.25
"""Share of the steps before a rung over which a run is measured."""


class Standings:
    """Of one run, as it goes on.

    Args:
        rungs: steps, and the least standing (-inf for any) with which the run goes on from there.
        by: series that is compared, ``accuracy`` or ``task_loss``.
    """

    def __init__(self, rungs: Sequence[tuple[int, float]], by: str) -> None:
        self._rungs = tuple(rungs)
        self._by = by
        self._rows: list[tuple[int, float, float]] = []
        self.found: list[float] = []
        """At the rungs that were reached: higher is better, NaN where nothing was measured, -inf
        for a loss that is not finite."""

    def add(self, steps: Sequence[int], columns: Mapping[str, Sequence[float]]) -> bool:
        """Take in a block of steps; whether the run goes on."""
        unknown = [math.nan] * len(steps)
        values, counts = columns.get(self._by, unknown), columns.get("n", unknown)
        self._rows.extend(zip(steps, values, counts, strict=True))
        while len(self.found) < len(self._rungs):
            at, least = self._rungs[len(self.found)]
            if not self._rows or self._rows[-1][0] + 1 < at:
                break
            self.found.append(self._standing(at))
            if self.found[-1] < least:
                return False
            self._rows = [row for row in self._rows if row[0] >= at]
        return True

    def _standing(self, at: int) -> float:
        rows = [(v, n) for step, v, n in self._rows if (1 - WINDOW) * at <= step < at and n > 0]
        if self._by == "accuracy":
            rows = [(value, n) for value, n in rows if not math.isnan(value)]
        total = sum(n for _, n in rows)
        if not total:
            return math.nan
        mean = sum(value * n for value, n in rows) / total
        if not math.isfinite(mean):
            return -math.inf
        return mean if self._by == "accuracy" else -mean
