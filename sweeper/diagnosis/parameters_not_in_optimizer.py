"""The optimizer was not given all trainable parameters of the model."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis


def explain(e: Evidence) -> Hypothesis | None:
    missing = max((o.n_missing for o in e.facts.optimizers), default=0)
    share = min(1.0, missing / max(1, e.facts.n_parameters))
    if share < 0.005:
        return None
    # Two models with an optimizer each see the other's parameters as missing only when one is
    # untrained.
    belief = (0.3 if e.facts.pretrained else 0.92) if share > 0.2 else 0.3 + 2 * share
    return hypothesis(
        Cause.PARAMETERS_NOT_IN_OPTIMIZER,
        belief,
        f"{share:.0%} of the trainable parameters belong to no optimizer and stay as they were"
        " drawn",
        share=share,
    )


CAUSE = CauseRule(
    cause=Cause.PARAMETERS_NOT_IN_OPTIMIZER,
    definition="trainable parameters of a model whose other parameters are trained are in no"
    " optimizer",
    source="seams",
    remedies=("add_missing_parameters",),
    explain=explain,
    evident=True,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.OPTIMIZER_MISMATCH,
        Cause.SATURATING_ACTIVATION,
        Cause.DEAD_ACTIVATION,
        Cause.CODE_FAULT,
        Cause.BAD_INITIALISATION,
        Cause.FROZEN_PARAMETERS,
    ),
)
