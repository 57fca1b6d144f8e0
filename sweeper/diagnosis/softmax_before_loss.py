"""Softmax or sigmoid between the model and a loss that applies its own."""

from __future__ import annotations

import numpy as np

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

TWICE = {
    ("softmax", "cross_entropy"): 0.92,
    ("sigmoid", "cross_entropy"): 0.85,
    ("sigmoid", "binary_cross_entropy_with_logits"): 0.92,
    ("softmax", "binary_cross_entropy_with_logits"): 0.85,
    ("tanh", "cross_entropy"): 0.5,
    ("relu", "cross_entropy"): 0.3,
    ("relu", "binary_cross_entropy_with_logits"): 0.6,
}
"""Output activation and loss that do not go together. A log-softmax before nll_loss, a sigmoid
before binary_cross_entropy and even a log-softmax before cross_entropy (it changes nothing) are
right."""


def explain(e: Evidence) -> Hypothesis | None:
    output, loss = e.facts.output_activation, e.facts.loss_function
    belief = TWICE.get((output, loss), 0.0)
    if not belief and loss == "cross_entropy" and not output and _rows_sum_to_one(e):
        output, belief = "softmax", 0.85
    if not belief:
        return None
    return hypothesis(
        Cause.SOFTMAX_BEFORE_LOSS,
        belief,
        f"the model ends in {output} and {loss} applies its own: the loss cannot get small and"
        " gradients are tiny",
        output_activation=output,
        loss_function=loss,
    )


def _rows_sum_to_one(e: Evidence) -> bool:
    logits = e.captured.logits_first if e.captured else None
    if logits is None or logits.ndim != 2 or logits.shape[1] < 2 or len(logits) < 8:
        return False
    return bool((logits >= 0).all() and np.allclose(logits.sum(axis=1), 1.0, atol=1e-3))


CAUSE = CauseRule(
    cause=Cause.SOFTMAX_BEFORE_LOSS,
    definition="cross_entropy or binary_cross_entropy_with_logits is given probabilities instead of"
    " logits",
    source="seams; TheDeepChecker and UMLAUT check the same",
    remedies=("drop_output_softmax", "learning_rate", "optimizer"),
    explain=explain,
    evident=True,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.OPTIMIZER_MISMATCH,
        Cause.SATURATING_ACTIVATION,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.MISSING_NORMALISATION,
        Cause.WRONG_LOSS,
        Cause.CLASS_IMBALANCE,
        Cause.BAD_INITIALISATION,
        Cause.DEAD_ACTIVATION,
    ),
)
