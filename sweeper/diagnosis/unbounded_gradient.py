"""Gradients grow without bound and nothing clips them."""

from __future__ import annotations

from sweeper.diagnosis._base import HOT, CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    exploded = e.finding(Symptom.EXPLODING_GRADIENT)
    broke = e.critical(Symptom.NON_FINITE, Symptom.DIVERGENCE)
    if exploded is None or not (exploded.critical or broke) or e.facts.clips:
        return None
    belief = 0.45 if broke else 0.25
    if e.recurrent or e.repeated_weights:
        belief += 0.3
    if exploded.evidence.get("times_usual", 0.0) > 100 and broke:
        belief += 0.1
    if e.early_ratio < HOT:  # the steps before were sound, so it is not the rate alone
        belief += 0.1
    # Adaptive optimizers divide the size of the gradient out.
    if e.adaptive and not e.recurrent:
        belief -= 0.2
    return hypothesis(
        Cause.UNBOUNDED_GRADIENT,
        belief,
        f"the gradient norm reaches {exploded.evidence.get('value', 0.0):.3g} and nothing clips it"
        + (" in a recurrent model" if e.recurrent or e.repeated_weights else ""),
        value=exploded.evidence.get("value"),
        recurrent=e.recurrent or e.repeated_weights,
    )


CAUSE = CauseRule(
    cause=Cause.UNBOUNDED_GRADIENT,
    definition="an exploding gradient breaks the run and the program has no clip; recurrent weights"
    " make it likely",
    source="Pascanu et al. 2013",
    remedies=("clip_norm", "learning_rate", "init", "normalisation"),
    explain=explain,
    explains=(Cause.TOO_DEEP_WITHOUT_SHORTCUTS, Cause.MISSING_NORMALISATION),
)
