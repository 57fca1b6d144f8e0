"""The learning rate is gone before the run is half over."""

from __future__ import annotations

import numpy as np

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

DECAYED = 0.01
"""Share of the peak under which a rate is spent (design)."""
EARLY = 0.5
"""Share of the run in which a schedule must not spend it (design; cosine and linear pass 1 % after
94 %)."""


def explain(e: Evidence) -> Hypothesis | None:
    lr = e.lr
    if len(lr) < 10 or not lr.max() > 0:
        return None
    peak = int(np.argmax(lr))
    spent = np.flatnonzero(lr[peak:] < DECAYED * lr[peak])
    if not len(spent):
        return None
    at = (peak + int(spent[0])) / e.planned
    if at > EARLY or lr[-1] > DECAYED * lr[peak]:
        return None
    belief = 0.95 - 0.5 * at if e.stuck else 0.5 - 0.5 * at
    return hypothesis(
        Cause.SCHEDULE_DECAYS_TOO_FAST,
        belief,
        f"the rate falls from {lr[peak]:.3g} to under {DECAYED:.0%} of that within the first"
        f" {at:.0%} of the run",
        at=at,
        last=float(lr[-1]),
        schedulers=list(e.facts.schedulers),
    )


CAUSE = CauseRule(
    cause=Cause.SCHEDULE_DECAYS_TOO_FAST,
    definition="the rate falls to a hundredth of its peak in the first half of the run and stays"
    " there",
    source="design; a schedule meant for epochs that is stepped for every batch is the common case",
    remedies=("lr_schedule",),
    explain=explain,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.OPTIMIZER_MISMATCH,
        Cause.SATURATING_ACTIVATION,
        Cause.MISSING_WARMUP,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.CODE_FAULT,
        Cause.BATCH_TOO_LARGE,
    ),
)
