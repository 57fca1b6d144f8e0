"""The loss does not fit the targets or the head."""

from __future__ import annotations

import numpy as np

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

SQUARED = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


def explain(e: Evidence) -> Hypothesis | None:
    facts = e.facts
    output, loss, width = facts.output_activation, facts.loss_function, facts.head_width
    if loss == "nll_loss" and output != "log_softmax":
        given = output or "raw scores"
        return _say(0.93, f"nll_loss expects log-probabilities and is given {given}", loss=loss)
    if loss == "cross_entropy" and width == 1:
        return _say(
            0.95, "cross_entropy over a single output is 0 whatever the model says", loss=loss
        )
    if loss in SQUARED:
        return _regression(e, output)
    return None


def _regression(e: Evidence, output: str) -> Hypothesis | None:
    record, facts = e.record, e.facts
    if (
        np.isfinite(record.series("task_loss")).any()
        and not np.isfinite(record.series("r2_error")).any()
    ):
        return _say(
            0.85,
            "prediction and target have different shapes, so the loss compares every prediction"
            " with every target"
            " (the best answer is then the mean)",
            loss=facts.loss_function,
        )
    targets = e.captured.targets if e.captured is not None else None
    if targets is None or not targets.size:
        return None
    values = np.unique(targets[np.isfinite(targets)])
    if output in ("sigmoid", "softmax", "tanh", "relu") and len(values):
        low, high = {"tanh": (-1.0, 1.0), "relu": (0.0, np.inf)}.get(output, (0.0, 1.0))
        outside = float(np.mean((targets < low) | (targets > high)))
        if outside > 0.05:
            return _say(
                0.85,
                f"the model ends in {output} and {outside:.0%} of the targets lie outside what it"
                " can give",
                outside=outside,
            )
    few = 2 <= len(values) <= 20 and np.allclose(values, np.round(values))
    if few and len(targets) >= 10 * len(values):
        counted = _counts_right_answers(e)
        many = facts.head_width > 1 or output in ("softmax", "sigmoid")
        return _say(
            0.85 if counted else 0.6 if many else 0.35,
            f"the targets are {len(values)} whole numbers, which look like classes, and the loss is"
            f" {facts.loss_function}"
            + (", while the program's evaluation counts right answers" if counted else ""),
            values=len(values),
        )
    return None


def _counts_right_answers(e: Evidence) -> bool:
    evals = e.record.evals
    return evals is not None and bool(np.isfinite(evals.accuracy).any())


def _say(belief: float, reason: str, **evidence: object) -> Hypothesis:
    return hypothesis(Cause.WRONG_LOSS, belief, reason, **evidence)


CAUSE = CauseRule(
    cause=Cause.WRONG_LOSS,
    definition="the loss cannot be met by the head (range, shape, number of outputs) or does not"
    " fit the targets",
    source="UMLAUT and TheDeepChecker check head and loss; seams",
    remedies=("loss", "drop_output_softmax"),
    explain=explain,
    evident=True,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.OPTIMIZER_MISMATCH,
        Cause.LABELS_WITHOUT_SIGNAL,
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.DEAD_ACTIVATION,
        Cause.UNBOUNDED_GRADIENT,
        Cause.INPUTS_NOT_STANDARDISED,
    ),
)
