"""Dropout removes more than the model can do without."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    rate = max(e.facts.dropout, default=0.0)
    if rate < 0.5 or e.facts.trained_in_eval_mode or e.has(Symptom.OVERFITTING):
        return None
    several = sum(p >= 0.5 for p in e.facts.dropout)
    belief = 0.85 if rate >= 0.85 else 0.7 if rate >= 0.75 else 0.45 if rate > 0.6 else 0.12
    belief = min(0.9, belief + 0.1 * (several >= 3))
    return hypothesis(
        Cause.DROPOUT_TOO_STRONG,
        belief,
        f"dropout of {rate:g} in {several} place(s) leaves {1 - rate:.0%} of the units at a time",
        rate=rate,
        places=several,
    )


CAUSE = CauseRule(
    cause=Cause.DROPOUT_TOO_STRONG,
    definition="a dropout rate above 0.6 in a run that learned nothing and does not overfit",
    source="Srivastava et al. 2014 (0.5 for hidden units at most)",
    remedies=("dropout",),
    explain=explain,
    evident=True,
    explains=(Cause.LEARNING_RATE_TOO_LOW, Cause.OPTIMIZER_MISMATCH, Cause.DEAD_ACTIVATION),
)
