"""The loss does not move, or sits where guessing would put it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._stats import mean, median
from sweeper.detectors._view import n_steps, sound_steps, warm_up
from sweeper.detectors.skill import ill, in_nats, learned, prior_entropy, task_loss
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class FlatLossThresholds(Thresholds):
    fall: float = limit(0.05, 0.0, 0.9)
    """Relative fall from the first losses to the last under which nothing was learned
    (TheDeepChecker 5 %)."""
    of_prior: float = limit(0.98, 0.5, 1.0)
    """Share of the prior entropy (variance for squared error) above which the loss is that of
    guessing (design 2 %)."""
    moving: float = limit(0.05, 0.0, 0.5)
    """Relative fall over the second half that shows a loss still on its way (trainspotter 2 %,
    doubled for noise)."""
    steps: float = limit(30, 8, 10_000)
    """Finite losses needed."""


def detect(record: RunRecord, limits: FlatLossThresholds) -> Detected:
    sound = sound_steps(record)
    loss = task_loss(record)[:sound]
    known = np.flatnonzero(np.isfinite(loss))
    if len(known) < limits.steps:
        return Insufficient(f"{len(known)} finite losses, {limits.steps:.0f} needed")
    if not ill(record):
        return None
    values = loss[known]
    n = len(values)
    first = median(values[: min(max(10, n // 100), n // 3)])
    middle, last = mean(values[n // 2 : 3 * n // 4]), mean(values[-max(n // 5, 5) :])
    fall = (first - last) / max(abs(first), 1e-12)
    moving = (middle - last) / max(abs(middle), 1e-12)
    prior = _cost_of_guessing(record)
    at_prior = prior > 0 and last >= limits.of_prior * prior
    if moving > limits.moving or moving < -1.0 or not (abs(fall) < limits.fall or at_prior):
        return None
    if at_prior and not abs(fall) < limits.fall:
        value, threshold = last / prior, limits.of_prior
        reason = (
            f"the loss stands at {last:.4g}, {value:.3g} times what guessing costs ({prior:.4g})"
        )
    else:
        value, threshold = fall, limits.fall
        reason = f"the loss fell by {fall:.1%} in {n_steps(record)} steps (limit {limits.fall:.0%})"
    # A plateau begins where the losses first reach its level.
    width = max(1, n // 50)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    near = np.flatnonzero(np.abs(smooth - last) <= 0.05 * max(abs(last), 1e-12))
    start = int(known[near[0]]) if len(near) else warm_up(record)
    certain = learned(record) is False and len(record.facts.optimizers) <= 1
    return Finding(
        symptom=Symptom.FLAT_LOSS,
        severity=0.8 if certain else (0.55 if not record.facts.pretrained else 0.4),
        reason=reason,
        steps=(start, sound - 1),
        evidence={
            "value": value,
            "threshold": threshold,
            "first": first,
            "last": last,
            "guessing": prior,
        },
    )


def _cost_of_guessing(record: RunRecord) -> float:
    if in_nats(record):
        return prior_entropy(record.facts)
    if record.facts.loss_function == "mse_loss":
        return record.facts.target_variance
    return math.nan


DETECTOR = Detector(
    symptom=Symptom.FLAT_LOSS,
    definition="the loss of a run that learned nothing fell by less than 5 %, or stands within 2 %"
    " of the prior"
    " entropy (target variance) or above it, and does not fall over the second half",
    source="TheDeepChecker (5 %), trainspotter (plateau); the prior entropy is by design",
    thresholds=FlatLossThresholds(),
    detect=detect,
)
