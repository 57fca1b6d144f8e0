"""The training samples are known by heart while held-out samples are not understood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._stats import mean
from sweeper.detectors._view import n_steps
from sweeper.detectors.skill import LATE, UNEQUAL, held_out_skill, memorised, prior_entropy
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class OverfittingThresholds(Thresholds):
    gap: float = limit(0.4, 0.05, 1.0, "skill")
    """Training skill minus held-out skill that is critical (design)."""
    ratio: float = limit(0.5, 0.05, 1.0, "share of the training skill")
    """... when the held-out skill is also under this share of the training skill (design)."""
    warn: float = limit(0.15, 0.02, 1.0, "skill")
    """Gap worth a word (design)."""
    rise: float = limit(1.5, 1.05, 100.0, "times the lowest loss")
    """Last held-out loss over the lowest one (early-stopping rules use far less; a word, not a
    verdict)."""


def detect(record: RunRecord, limits: OverfittingThresholds) -> Detected:
    held_out = held_out_skill(record)
    same = record.facts.task != "regression" or held_out.name != "accuracy"
    train = _training_skill(record) if same else math.nan
    recalled = held_out.where == "fresh" and memorised(record)
    rise = _rise(record)
    if (held_out.where != "eval" and not recalled) or not math.isfinite(train):
        if record.foreign and (found := _from_accuracies(record, limits)):
            return found
        if not math.isfinite(rise):
            return Insufficient("no held-out measurement late in the run")
        return _from_loss(record, rise, limits)
    gap = train - held_out.value
    equal = not held_out.prior >= UNEQUAL  # a rare class makes accuracy jump
    severe = equal and gap >= limits.gap and held_out.value < limits.ratio * train
    if gap < limits.warn:
        return _from_loss(record, rise, limits)
    return Finding(
        symptom=Symptom.OVERFITTING,
        severity=0.6 if severe else 0.25,
        reason=f"skill {train:.2f} on training batches and {held_out.value:.2f} on held-out samples"
        f" (gap limit {limits.gap:g})",
        steps=(int(LATE * n_steps(record)), n_steps(record) - 1),
        evidence={
            "value": gap,
            "threshold": limits.gap,
            "train": train,
            "held_out": held_out.value,
            "loss_rise": rise if math.isfinite(rise) else None,
        },
    )


def _from_accuracies(record: RunRecord, limits: OverfittingThresholds) -> Finding | None:
    """Training and held-out accuracy of a log without a known number of classes.

    Accuracies are nearer to one another than the skills behind them, whatever the class shares, so
    the same limits err on the quiet side."""
    evals, late = record.evals, slice(int(LATE * n_steps(record)), None)
    if evals is None:
        return None
    held_out = mean(evals.accuracy[evals.step >= LATE * n_steps(record)][-3:])
    train = mean(record.series("accuracy")[late])
    gap = train - held_out
    if not gap >= limits.warn:
        return None
    return Finding(
        symptom=Symptom.OVERFITTING,
        severity=0.6 if gap >= limits.gap and held_out < limits.ratio * train else 0.25,
        reason=f"accuracy {train:.2f} on training batches and {held_out:.2f} on held-out samples"
        f" (gap limit {limits.gap:g})",
        steps=(int(LATE * n_steps(record)), n_steps(record) - 1),
        evidence={"value": gap, "threshold": limits.gap, "train": train, "held_out": held_out},
    )


def _from_loss(record: RunRecord, rise: float, limits: OverfittingThresholds) -> Detected:
    if not rise > limits.rise:
        return None
    return Finding(
        symptom=Symptom.OVERFITTING,
        severity=0.3,
        reason=f"the held-out loss ends {rise:.3g} times above its lowest value (limit"
        f" {limits.rise:g})",
        steps=(int(LATE * n_steps(record)), n_steps(record) - 1),
        evidence={"value": rise, "threshold": limits.rise},
    )


def _training_skill(record: RunRecord) -> float:
    """Late skill on training batches of the kind the held-out skill has; NaN when unknown."""
    facts = record.facts
    late = slice(int(LATE * n_steps(record)), None)
    n = record.series("n")[late]
    if facts.task == "regression":
        total = float(np.nansum(n))
        error = float(np.nansum(record.series("r2_error")[late]))
        known = total > 0 and error > 0 and facts.target_variance > 0
        return 1 - error / total / facts.target_variance if known else math.nan
    if facts.task == "language_model":
        entropy = prior_entropy(facts)
        return (
            (entropy - mean(record.series("task_loss")[late])) / entropy
            if entropy > 0
            else math.nan
        )
    accuracy, p0 = (
        mean(record.series("accuracy")[late], n),
        max(facts.class_prior, default=math.nan),
    )
    return (accuracy - p0) / (1 - p0) if p0 < 1 else math.nan


def _rise(record: RunRecord) -> float:
    evals = record.evals
    if evals is None:
        return math.nan
    loss = evals.loss[np.isfinite(evals.loss)]
    return float(loss[-1] / loss.min()) if len(loss) >= 3 and loss.min() > 0 else math.nan


DETECTOR = Detector(
    symptom=Symptom.OVERFITTING,
    definition="training skill exceeds held-out skill by 0.4 and the latter is under half of the"
    " former; smaller"
    " gaps and a rising held-out loss are told without being called ill",
    source="design",
    thresholds=OverfittingThresholds(),
    detect=detect,
)
