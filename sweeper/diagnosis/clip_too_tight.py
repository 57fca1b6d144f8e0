"""The program's own clip leaves next to nothing of the gradient."""

from __future__ import annotations

import math

import numpy as np

from sweeper.detectors._stats import median
from sweeper.diagnosis._base import SLOW, CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

ALWAYS = 0.95
"""Share of clipped steps from which the clip sets the step length (definition 5.12)."""
FULL = 0.2
"""Gradient norm over its largest possible under a clip by value, from which the clip shapes it
(design)."""
LEFT = 0.1
"""Share of the gradient left by a clip that is tight (design; a clip at 1 of norms near 5 is
usual)."""


def explain(e: Evidence) -> Hypothesis | None:
    if not e.facts.clips or not e.stuck:
        return None
    before, after = e.record.series("grad_norm"), e.record.series("clipped_norm")
    known = np.isfinite(before) & np.isfinite(after) & (before > 0)
    if known.sum() < 5:
        return None
    limit = min(c.max_norm for c in e.facts.clips)
    if any(c.kind == "value" for c in e.facts.clips):
        return _by_value(e, limit, median(after[known]))
    left = after[known] / before[known]
    share = float((left < 0.99).mean())
    middle = median(left)
    if share < ALWAYS or middle > LEFT:
        return None
    slow = e.ratio < SLOW
    belief = (0.88 if slow else 0.5) if middle < 0.02 else (0.75 if slow else 0.35)
    if e.adaptive:  # the scale of the gradient cancels in the step
        belief *= 0.35
    return hypothesis(
        Cause.CLIP_TOO_TIGHT,
        belief,
        f"the program clips {share:.0%} of the steps at {limit:g} and leaves {middle:.1%} of the"
        " gradient; weights"
        f" move by {e.ratio:.1e} of their size a step",
        share=share,
        left=middle,
        max_norm=limit,
    )


def _by_value(e: Evidence, limit: float, norm: float) -> Hypothesis | None:
    """Elements at the limit make the norm ``limit * sqrt(n)``; a norm near that is all limit."""
    full = norm / (limit * math.sqrt(max(1, e.facts.n_parameters)))
    if full < FULL or e.adaptive or not e.ratio < 10 * SLOW:
        return None
    return hypothesis(
        Cause.CLIP_TOO_TIGHT,
        0.75,
        f"the program clips each element at {limit:g}, and the gradient norm is {full:.0%} of the"
        " most that leaves",
        full=full,
        max_value=limit,
    )


CAUSE = CauseRule(
    cause=Cause.CLIP_TOO_TIGHT,
    definition="the program's clip acts in nearly every step, leaves under a tenth of the gradient,"
    " and nothing is"
    " learned",
    source="definition 5.12 (share of clipped steps); the rest by design",
    remedies=("clip_norm", "learning_rate", "optimizer"),
    explain=explain,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.OPTIMIZER_MISMATCH,
        Cause.SATURATING_ACTIVATION,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.BATCH_TOO_LARGE,
    ),
)
