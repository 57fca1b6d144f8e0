"""Combinations of what already helped alone: the first proposals of the joint study.

A sampler has to rediscover that two remedies which each move the run in the right direction may
cure it together; the screening has already measured which these are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweeper.types import Fix

MOST_PARTS = 4
"""Screened fixes that are combined: the best so many."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A judged fix, as far as choosing needs it."""

    fix: Fix
    score: float
    excess: float
    """Sum of the positive violations; 0 for a run without any."""

    @property
    def key(self) -> tuple[float, float, int, str]:
        """Sorts better fixes first: less ill, higher score, smaller, then anything stable."""
        return (round(self.excess, 6), -self.score, len(self.fix.changes), self.fix.hash)


def parts(screened: Sequence[Told]) -> list[Fix]:
    """The best screened fix of each set of remedies, best first."""
    best: dict[frozenset[str], Told] = {}
    for told in sorted(screened, key=lambda t: t.key):
        best.setdefault(frozenset(told.fix.changes), told)
    return [told.fix for told in sorted(best.values(), key=lambda t: t.key)]


def stacked(screened: Sequence[Told], most_changes: int) -> Iterator[Fix]:
    """Unions of two, three, ... of the best parts that name different remedies, in order of their
    ranks."""
    best = parts(screened)[:MOST_PARTS]
    for size in range(2, len(best) + 1):
        ranked = sorted(itertools.combinations(range(len(best)), size), key=lambda c: (sum(c), c))
        for chosen in ranked:
            names = [name for i in chosen for name in best[i].changes]
            if len(names) == len(set(names)) <= most_changes:
                yield Fix(changes={k: v for i in chosen for k, v in best[i].changes.items()})
