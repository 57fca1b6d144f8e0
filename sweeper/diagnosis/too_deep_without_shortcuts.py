"""A deep plain stack: the signal fades or explodes on its way."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom

DEEP = 8
"""Weight layers from which a plain stack is hard to train (He et al. 2016 see it from about 20,
sigmoid from 5)."""


def explain(e: Evidence) -> Hypothesis | None:
    signs = e.has(
        Symptom.VANISHING_GRADIENT, Symptom.EXPLODING_GRADIENT, Symptom.COLLAPSED_REPRESENTATION
    )
    if e.depth < 5 or not signs or e.recurrent:
        return None
    belief = 0.2 if e.depth < DEEP else (0.4 if e.depth < 2 * DEEP else 0.55)
    if e.facts.norms:
        belief *= 0.6
    if e.attention:  # transformers have shortcuts; post-norm ones still lose the gradient
        belief = min(belief, 0.3)
    return hypothesis(
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        belief,
        f"{e.depth} weight layers in a row"
        + ("" if e.facts.norms else " without normalisation")
        + " change the size of the gradient on its way",
        depth=e.depth,
    )


CAUSE = CauseRule(
    cause=Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
    definition="many weight layers in a row, and a gradient or representation that fades or"
    " explodes over them",
    source="He et al. 2016",
    remedies=("residual", "normalisation", "init", "activation"),
    explain=explain,
    explains=(Cause.LEARNING_RATE_TOO_LOW,),
)
