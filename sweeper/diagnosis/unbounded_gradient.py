"""Gradients grow without bound and nothing clips them."""

from __future__ import annotations

from sweeper.diagnosis._base import HOT, CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    exploded = e.finding(Symptom.EXPLODING_GRADIENT)
    broke = e.critical(Symptom.NON_FINITE, Symptom.DIVERGENCE)
    recurrent = e.recurrent or e.repeated_weights
    # The steps before the end may be too few to show it: in a recurrent model the gradient grows
    # over time, within a step.
    within_a_step = recurrent and e.critical(Symptom.NON_FINITE)
    shown = exploded is not None and (exploded.critical or broke)
    if e.facts.clips or not (shown or within_a_step):
        return None
    seen = exploded.evidence if exploded is not None else {}
    belief = 0.45 if broke else 0.25
    if recurrent:
        belief += 0.3
    if seen.get("times_usual", 0.0) > 100 and broke:
        belief += 0.1
    if e.early_ratio < HOT:  # the steps before were sound, so it is not the rate alone
        belief += 0.1
    # Adaptive optimizers divide the size of the gradient out.
    if e.adaptive and not e.recurrent:
        belief -= 0.2
    size = f"reaches {seen['value']:.3g}" if "value" in seen else "breaks the run"
    return hypothesis(
        Cause.UNBOUNDED_GRADIENT,
        belief,
        f"the gradient norm {size} and "
        + ("the log does not say that it is clipped" if e.record.foreign else "nothing clips it")
        + (" in a recurrent model" if recurrent else ""),
        value=seen.get("value"),
        recurrent=recurrent,
    )


CAUSE = CauseRule(
    cause=Cause.UNBOUNDED_GRADIENT,
    definition="an exploding gradient breaks the run, or a recurrent run ends non-finite, and the"
    " program has no clip; recurrent weights make it likely",
    source="Pascanu et al. 2013",
    remedies=("clip_norm", "learning_rate", "init", "normalisation"),
    explain=explain,
    explains=(Cause.TOO_DEEP_WITHOUT_SHORTCUTS, Cause.MISSING_NORMALISATION),
)
