"""Rectifier units never fire, so nothing trains through them."""

from __future__ import annotations

from sweeper.diagnosis._base import RECTIFIERS, CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    dead = e.finding(Symptom.DEAD_UNITS)
    if dead is None or not any(f in RECTIFIERS for f in e.hidden_functions):
        return None
    share, start = float(dead.evidence["value"]), float(dead.evidence["at_start"])
    if not dead.critical:
        belief = 0.15
    elif start >= 0.5:
        belief = 0.75 if share > 0.9 else 0.5
    else:
        belief = 0.5 if share > 0.9 else 0.35
    collapsed = e.finding(Symptom.COLLAPSED_REPRESENTATION)
    if collapsed is not None and share < 0.9 and float(collapsed.evidence["at_start"]) > 0.95:
        belief *= 0.4  # where all inputs look alike, half of the units are off by their bias alone
    return hypothesis(
        Cause.DEAD_ACTIVATION,
        belief,
        f"{dead.reason}; at the first sample it was {start:.0%}",
        share=share,
        at_start=start,
    )


CAUSE = CauseRule(
    cause=Cause.DEAD_ACTIVATION,
    definition="more than half of a layer's rectifier units are dead in a run that learned nothing",
    source="AUTOTRAINER (dying ReLU), DeepDiagnosis",
    remedies=("activation", "init", "normalisation", "learning_rate"),
    explain=explain,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.OPTIMIZER_MISMATCH,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.CODE_FAULT,
        Cause.MISSING_NORMALISATION,
    ),
)
