"""The model is larger than what the data can teach it."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    found = e.finding(Symptom.OVERFITTING)
    if found is None:
        return None
    held_out = float(found.evidence.get("held_out", 0.0))
    belief = 0.85 if found.critical and held_out > 0.05 else (0.4 if found.critical else 0.2)
    return hypothesis(Cause.OVERFITTING, belief, found.reason, **dict(found.evidence))


CAUSE = CauseRule(
    cause=Cause.OVERFITTING,
    definition="training skill far above held-out skill, and some held-out skill (none at all is a"
    " matter of labels)",
    source="design",
    remedies=("dropout", "weight_decay", "label_smoothing", "lr_schedule", "batch_size"),
    explain=explain,
)
