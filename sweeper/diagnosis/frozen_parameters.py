"""Most of an untrained model has its gradients switched off."""

from __future__ import annotations

import numpy as np

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis


def explain(e: Evidence) -> Hypothesis | None:
    handed = sum(o.n_frozen for o in e.facts.optimizers)
    frozen = max(e.facts.n_frozen, handed, _without_gradient(e))
    share = frozen / max(1, e.facts.n_parameters)
    if share < 0.05 or e.facts.detached:
        return None
    # A frozen pretrained body is how heads are trained; one that was never trained is a mistake.
    belief = (0.25 if e.facts.pretrained else 0.93) if share > 0.3 else 0.15 + share
    return hypothesis(
        Cause.FROZEN_PARAMETERS,
        belief,
        f"{share:.0%} of the parameters do not require a gradient"
        + (
            ""
            if e.facts.pretrained
            else " although no weights were loaded: they stay as they were drawn"
        ),
        share=share,
        handed_to_optimizer=handed,
    )


def _without_gradient(e: Evidence) -> int:
    """Elements of parameter tensors that never had a gradient and never moved, where facts do not
    count them."""
    layers = e.record.layers
    counted = any(o.n_without_grad or o.n_missing for o in e.facts.optimizers)
    if layers is None or counted or not len(layers.step):
        return 0
    never = np.isnan(layers.grad_norm).all(axis=0) & (np.nan_to_num(layers.update_norm) == 0).all(
        axis=0
    )
    return int(np.array(layers.sizes)[never].sum()) if not never.all() else 0


CAUSE = CauseRule(
    cause=Cause.FROZEN_PARAMETERS,
    definition="a third or more of the parameters have requires_grad False and were not loaded from"
    " a checkpoint",
    source="seams",
    remedies=("unfreeze", "learning_rate"),
    explain=explain,
    evident=True,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.OPTIMIZER_MISMATCH,
        Cause.SATURATING_ACTIVATION,
        Cause.DEAD_ACTIVATION,
        Cause.BAD_INITIALISATION,
        Cause.CODE_FAULT,
        Cause.MISSING_NORMALISATION,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
    ),
)
