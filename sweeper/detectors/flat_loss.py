"""The loss does not move, or sits where guessing would put it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._stats import mean, median, trend
from sweeper.detectors._view import least_rows, n_steps, sound_steps, warm_up
from sweeper.detectors.skill import ill, in_nats, learned, n_classes, prior_entropy, task_loss
from sweeper.types import Finding, RunRecord, Symptom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROUND = (2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 1000)
"""Numbers of classes whose logarithm as a level of the loss tells that the answer is guessed."""


@dataclass(frozen=True, kw_only=True)
class FlatLossThresholds(Thresholds):
    fall: float = limit(0.05, 0.0, 0.9, "share of the first losses")
    """Relative fall from the first losses to the last under which nothing was learned
    (TheDeepChecker 5 %)."""
    of_prior: float = limit(0.98, 0.5, 1.0, "times the cost of guessing")
    """Share of the prior entropy (variance for squared error) above which the loss is that of
    guessing (design 2 %)."""
    moving: float = limit(0.05, 0.0, 0.5, "share of the loss")
    """Relative fall over the second half that shows a loss still on its way (trainspotter 2 %,
    doubled for noise)."""
    steps: float = limit(30, 8, 10_000, "losses")
    """Finite losses needed."""
    epochs: float = limit(6, 3, 1000, "epochs")
    """... where each is the mean of an epoch."""
    plateau: float = limit(0.75, 0.3, 1.0, "share of ln K")
    """Share of ln K above which a loss that settled at once shows no more than the shares of
    unequal classes, where only K is known (the 65 characters of a play have 0.8; design)."""
    settled: float = limit(0.02, 0.0, 0.2, "share of the loss")
    """Relative change from the third tenth of the run on that is none (trainspotter)."""


def detect(record: RunRecord, limits: FlatLossThresholds) -> Detected:
    sound = sound_steps(record)
    loss = task_loss(record)[:sound]
    known = np.flatnonzero(np.isfinite(loss))
    needed = least_rows(record, limits.steps, limits.epochs)
    if len(known) < needed:
        return Insufficient(f"{len(known)} finite losses, {needed} needed")
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
    at_once = record.foreign and _settled_at_once(record, values, last, limits)
    flat = abs(fall) < limits.fall or at_prior or at_once
    if moving > limits.moving or moving < -1.0 or not flat:
        return None
    if at_once:
        value, threshold = last / math.log(n_classes(record.facts)), limits.plateau
        reason = (
            f"the loss stands at {last:.4g} since the first third of the run, {value:.3g} times the"
            f" logarithm of the number of classes (limit {threshold:g})"
        )
    elif at_prior and not abs(fall) < limits.fall:
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
        severity=0.8 if certain else (0.4 if _may_be_sound(record, values, last) else 0.55),
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


def _settled_at_once(
    record: RunRecord, values: Floats, last: float, limits: FlatLossThresholds
) -> bool:
    """A loss that began at ln K, soon fell a little, and has not moved since: what the shares of
    the classes give. Only from five classes on: two may be hard to tell apart."""
    k = n_classes(record.facts)
    if k < 5 or not np.abs(values[:5] - math.log(k)).min() < 0.1 * math.log(k):
        return False
    n = len(values)
    early = mean(values[3 * n // 10 : n // 2])
    return last >= limits.plateau * math.log(k) and abs(early - last) < limits.settled * abs(last)


def _may_be_sound(record: RunRecord, values: Floats, last: float) -> bool:
    """A model that was trained before moves little. A log need not say so: there a slow but
    significant fall counts for it, unless the level is that of guessing among a round number of
    classes."""
    if record.facts.pretrained or not record.foreign or n_classes(record.facts):
        return record.facts.pretrained
    slope, p_value = trend(values)
    guessing = any(abs(last - math.log(k)) < 0.02 * math.log(k) for k in ROUND)
    return slope < 0 and p_value < 0.01 and not guessing


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
