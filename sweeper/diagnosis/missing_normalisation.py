"""No normalisation keeps the size of the signal over several layers."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    if e.facts.norms or e.depth < 4 or e.recurrent:
        return None
    signs = [
        s
        for s in (
            Symptom.VANISHING_GRADIENT,
            Symptom.EXPLODING_GRADIENT,
            Symptom.SATURATED_UNITS,
            Symptom.DEAD_UNITS,
            Symptom.COLLAPSED_REPRESENTATION,
        )
        if e.has(s)
    ]
    if not signs:
        return None
    belief = 0.3 + 0.1 * min(len(signs), 3) * (e.depth >= 5)
    return hypothesis(
        Cause.MISSING_NORMALISATION,
        belief,
        f"{e.depth} weight layers without normalisation show {', '.join(s.value for s in signs)}",
        depth=e.depth,
    )


CAUSE = CauseRule(
    cause=Cause.MISSING_NORMALISATION,
    definition="four or more weight layers, no normalisation, and signals that fade, explode,"
    " saturate or die",
    source="Ioffe and Szegedy 2015; AUTOTRAINER and DeepDiagnosis add batch normalisation second",
    remedies=("normalisation", "init", "activation"),
    explain=explain,
)
