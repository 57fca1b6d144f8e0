"""How long a run is in search and in verification, chosen from the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sweeper.search.halving import rungs_below
from sweeper.types import Facts

MIN_STEPS = 150
"""The detectors' own need: 30 % of a run and a window of at least 50 points (detectors.md 5.4),
chance-level tests on 200 samples and more."""
WANTED_RUNS = 48
"""Runs that a study of average size makes: about 20 screened, 10 joint, the rest proof."""
SEARCH_SHARES = (0.35, 0.75)
"""Bounds on the share of the wall clock that searching may use."""


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """Step budgets. None runs the program to its end."""

    search: int | None
    full: int | None
    search_share: float
    reason: str
    rungs: tuple[int, ...] = ()
    """Steps at which searching runs are held against one another (`sweeper.search.halving`); empty
    where all that are wanted can be made to their end."""


def choose_horizon(
    facts: Facts, *, seconds: float | None, slots: int, steps: int | None, seeds: int
) -> Horizon:
    """Steps of a searching run and of a proving run.

    Args:
        seconds: wall clock that is left; None is without limit.
        steps: ``--steps`` of the user, which fixes both.
        seeds: fresh seeds of a proof.
    """
    full = None if facts.finished else facts.steps
    if steps is not None:
        whole = facts.finished and steps >= facts.steps
        fixed = None if whole else steps
        return Horizon(search=fixed, full=fixed, search_share=0.6, reason=f"--steps {steps}")
    pace = facts.seconds_per_step if math.isfinite(facts.seconds_per_step) else 0.0
    start = facts.start_seconds if math.isfinite(facts.start_seconds) else 0.0
    cost = start + facts.steps * pace
    if seconds is None or cost <= 0:
        return Horizon(
            search=full, full=full, search_share=0.6, reason="no wall-clock limit: runs in full"
        )
    proof = (2 * seeds + 2) * cost / slots
    share = min(max(1.0 - proof / seconds, SEARCH_SHARES[0]), SEARCH_SHARES[1])
    affordable = share * seconds * slots / cost
    if affordable >= WANTED_RUNS - 2 * seeds:
        return Horizon(
            search=full, full=full, search_share=share,
            reason=f"the program's {facts.steps} steps take {cost:.1f} s: every run in full",
        )  # fmt: skip
    part = max(0.4, affordable / (WANTED_RUNS - 2 * seeds))
    search = max(MIN_STEPS, math.ceil(part * facts.steps))
    if search >= 0.9 * facts.steps:
        return Horizon(
            search=full, full=full, search_share=share, reason="short program: every run in full"
        )
    rungs = rungs_below(search, MIN_STEPS)
    stops = f", fewer for runs behind others at {' or '.join(map(str, rungs))}" if rungs else ""
    return Horizon(
        search=search, full=full, search_share=share, rungs=rungs,
        reason=f"{facts.steps} steps take {cost:.1f} s: {search} steps in search{stops}, all in "
        "the proof",
    )  # fmt: skip
