"""The model trained with eval() in force."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    facts = e.facts
    if not facts.trained_in_eval_mode:
        return None
    if e.batch_statistics:
        belief, what = 0.85, "normalisation uses its untrained running statistics"
    elif facts.dropout:
        belief = 0.7 if e.has(Symptom.OVERFITTING) else 0.25
        what = "dropout does nothing"
    else:
        return None
    return hypothesis(
        Cause.TRAINED_IN_EVAL_MODE,
        belief,
        f"nearly every training forward ran in eval mode, so {what}",
        norms=len(facts.norms),
    )


CAUSE = CauseRule(
    cause=Cause.TRAINED_IN_EVAL_MODE,
    definition="more than nine in ten training forwards ran in eval mode, in a model where the mode"
    " matters",
    source="seams",
    remedies=("train_mode",),
    explain=explain,
    evident=True,
    explains=(
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.MISSING_NORMALISATION,
        Cause.OVERFITTING,
        Cause.BAD_INITIALISATION,
        Cause.UNBOUNDED_GRADIENT,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
    ),
)
