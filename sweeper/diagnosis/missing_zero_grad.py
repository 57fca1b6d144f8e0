"""Gradients of all steps add up."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis


def explain(e: Evidence) -> Hypothesis | None:
    if e.facts.grads_zeroed:
        return None
    belief = 0.95 if e.blew_up else 0.9
    return hypothesis(
        Cause.MISSING_ZERO_GRAD,
        belief,
        "gradients were never cleared between steps, so each step repeats the sum of all gradients"
        " so far",
        grads_zeroed=False,
    )


CAUSE = CauseRule(
    cause=Cause.MISSING_ZERO_GRAD,
    definition="parameters still hold a gradient when the first backward of a new step begins",
    source="seams",
    remedies=("zero_grad", "clip_norm"),
    explain=explain,
    evident=True,
    explains=(
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.UNBOUNDED_GRADIENT,
        Cause.DEAD_ACTIVATION,
        Cause.MISSING_WARMUP,
        Cause.OPTIMIZER_MISMATCH,
        Cause.BATCH_TOO_SMALL,
        Cause.MISSING_NORMALISATION,
        Cause.NON_FINITE_DATA,
        Cause.BAD_INITIALISATION,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
    ),
)
