"""Weight decay pulls the weights to nothing."""

from __future__ import annotations

import math

import numpy as np

from sweeper.detectors._stats import median
from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

SHRUNK = 0.5
"""Weight norm late over first under which decay wins against the gradient (design)."""
DECOUPLED = frozenset({"AdamW", "SGD", "ASGD"})
"""Here a step shrinks weights by lr x decay; elsewhere decay enters the normalised gradient and
acts in full."""


def explain(e: Evidence) -> Hypothesis | None:
    decay = e.optimizer.weight_decay if e.optimizer else 0.0
    if e.optimizer is None or decay <= 0 or not e.stuck:
        return None
    left = _left(e)
    rate = float(e.lr.sum()) * decay if e.lr.size else e.peak_lr * decay * e.n_steps
    strong = rate >= 1.0 if e.optimizer.name in DECOUPLED else decay >= 0.05
    if left < SHRUNK and (strong or decay >= 1e-2):
        belief = 0.9 if left < 0.3 else 0.75
    elif strong:
        belief = 0.6
    elif decay >= 1e-2 and e.adaptive and e.optimizer.name != "AdamW":
        belief = 0.12
    else:
        return None
    if e.hot and not strong:  # where the gradient has died, any decay takes the rest
        belief *= 0.3
    return hypothesis(
        Cause.WEIGHT_DECAY_TOO_STRONG,
        belief,
        f"weight decay {decay:g} with {e.optimizer.name}"
        + (f" left {left:.0%} of the weights' size" if math.isfinite(left) else ""),
        weight_decay=decay,
        left=left,
    )


def _left(e: Evidence) -> float:
    """Median over layers of the smallest weight norm after the start over the first; NaN when
    unknown."""
    layers = e.record.layers
    if layers is None or len(layers.step) < 2:
        return math.nan
    first = layers.weight_norm[0]
    known = (first > 0) & np.isfinite(layers.weight_norm).all(axis=0)
    return median(layers.weight_norm[-1][known] / first[known]) if known.any() else math.nan


CAUSE = CauseRule(
    cause=Cause.WEIGHT_DECAY_TOO_STRONG,
    definition="weights shrink to under half of their first size, or the decay over the run would"
    " take them to 1/e,"
    " in a run that learned nothing",
    source="TheDeepChecker (over-regularisation); design",
    remedies=("weight_decay", "optimizer"),
    explain=explain,
    explains=(
        Cause.DEAD_ACTIVATION,
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.SATURATING_ACTIVATION,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.MISSING_NORMALISATION,
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.OPTIMIZER_MISMATCH,
        Cause.BAD_INITIALISATION,
        Cause.MISSING_WARMUP,
    ),
)
