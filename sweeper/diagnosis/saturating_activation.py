"""Stacked sigmoid or tanh layers lose the gradient on its way back."""

from __future__ import annotations

from sweeper.diagnosis._base import SATURATING, CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom

SLOPE = {"sigmoid": 0.25, "hardsigmoid": 0.17}
"""Largest slope: each such layer divides the gradient by four or more; tanh and softsign have slope
1."""


def explain(e: Evidence) -> Hypothesis | None:
    stacked = [f for f in e.hidden_functions if f in SATURATING]
    if not stacked or 2 * len(stacked) < len(e.hidden_functions):
        return None
    faded = e.finding(Symptom.VANISHING_GRADIENT)
    full = e.finding(Symptom.SATURATED_UNITS)
    shrinking = sum(f in SLOPE for f in stacked)
    if faded is not None and (shrinking >= 2 or len(stacked) >= 4):
        belief = 0.85 if shrinking >= 3 and faded.critical else 0.65
    elif full is not None and full.critical:
        belief = 0.65
    elif shrinking >= 2 and e.stuck:
        belief = 0.4
    else:
        belief = 0.15 if e.stuck else 0.0
    if not belief:
        return None
    return hypothesis(
        Cause.SATURATING_ACTIVATION,
        belief,
        f"{len(stacked)} hidden layers use {', '.join(sorted(set(stacked)))}"
        + (f"; {faded.reason}" if faded else f"; {full.reason}" if full else ""),
        functions=sorted(set(stacked)),
        layers=len(stacked),
    )


CAUSE = CauseRule(
    cause=Cause.SATURATING_ACTIVATION,
    definition="half or more of the hidden activations saturate, and the gradient fades with depth"
    " or units sit at"
    " their ends",
    source="Glorot and Bengio 2010; AUTOTRAINER (vanishing gradients: change the activation)",
    remedies=("activation", "normalisation", "init", "residual"),
    explain=explain,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.OPTIMIZER_MISMATCH,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.MISSING_NORMALISATION,
        Cause.BATCH_TOO_LARGE,
    ),
)
