"""The loss swings from step to step more than it moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._stats import lag_one, sign_changes
from sweeper.detectors._view import sound_steps
from sweeper.detectors.skill import ill, in_nats, prior_entropy
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class OscillationThresholds(Thresholds):
    sign_changes: float = limit(0.5, 0.1, 1.0, "share of the differences")
    """Share of neighbouring loss differences with opposite signs (TheDeepChecker)."""
    lag_one: float = limit(-0.3, -1.0, 0.0, "autocorrelation")
    """Lag-1 autocorrelation of the differences (design; -0.5 for pure noise)."""
    spread: float = limit(0.5, 0.05, 10.0, "share of the loss")
    """Standard deviation of the differences over sqrt 2, as a share of the mean loss (design).
    Noise of batches of 32 stays near 0.1, a run above 0.5 jumps by half its own level."""
    above_prior: float = limit(1.05, 1.0, 100.0, "times the prior entropy")
    """Mean loss over the prior entropy from which swings are critical: on average worse than
    guessing (design)."""
    swing: float = limit(0.03, 0.001, 0.5, "accuracy")
    """Change of the accuracy between epochs that is a swing (AUTOTRAINER)."""
    epochs: float = limit(0.2, 0.01, 1.0, "share of the epochs")
    """Share of the epochs that turn back by so much, from which a log by epochs oscillates
    (AUTOTRAINER)."""


def detect(record: RunRecord, limits: OscillationThresholds) -> Detected:
    if record.rows == "epochs":
        return _by_epochs(record, limits)
    sound = sound_steps(record)
    loss = record.series("loss")[sound // 2 : sound]
    steps = np.flatnonzero(np.isfinite(loss)) + sound // 2
    values = loss[np.isfinite(loss)]
    if len(values) < 50:
        return Insufficient(f"{len(values)} finite losses in the second half, 50 needed")
    # One wild step is a spike, not an oscillation.
    values = np.clip(values, None, np.quantile(values, 0.98))
    differences = np.diff(values)
    level = float(np.abs(values.mean()))
    spread = float(differences.std()) / np.sqrt(2) / max(level, 1e-12)
    first = float(np.median(record.series("loss")[np.isfinite(record.series("loss"))][:10]))
    if level < 0.5 * abs(first) and not ill(record):
        return None
    swinging = (
        sign_changes(differences) > limits.sign_changes and lag_one(differences) < limits.lag_one
    )
    if spread <= limits.spread or not swinging:
        return None
    entropy = prior_entropy(record.facts)
    above = level / entropy if entropy > 0 and in_nats(record) else 0.0
    severe = ill(record) and above > limits.above_prior
    return Finding(
        symptom=Symptom.OSCILLATION,
        severity=0.55 if severe else 0.2,
        reason=f"the loss jumps by {spread:.0%} of its level {level:.3g} from step to step"
        f" (limit {limits.spread:.0%}) in the second half",
        steps=(int(steps[0]), int(steps[-1])),
        evidence={
            "value": spread,
            "threshold": limits.spread,
            "level": level,
            "level_over_prior": above,
        },
    )


def _by_epochs(record: RunRecord, limits: OscillationThresholds) -> Detected:
    """AUTOTRAINER's rule: the accuracy turns back by more than 0.03 in a fifth of the epochs."""
    accuracy = record.series("accuracy")[: sound_steps(record)]
    rows = np.flatnonzero(np.isfinite(accuracy))
    if len(rows) < 10:
        return Insufficient(f"{len(rows)} epochs with an accuracy, 10 needed")
    change = np.diff(accuracy[rows])
    large = np.abs(change) > limits.swing
    turns = (change[1:] * change[:-1] < 0) & large[1:] & large[:-1]
    share = float(turns.mean())
    if share <= limits.epochs:
        return None
    where = rows[1:-1][turns]
    return Finding(
        symptom=Symptom.OSCILLATION,
        severity=0.55 if ill(record) else 0.2,
        reason=f"the accuracy turns back by more than {limits.swing:g} in {share:.0%} of the epochs"
        f" (limit {limits.epochs:.0%})",
        steps=(int(where[0]), int(where[-1])),
        evidence={"value": share, "threshold": limits.epochs, "turns": int(turns.sum())},
    )


DETECTOR = Detector(
    symptom=Symptom.OSCILLATION,
    definition="in the second half most loss differences change sign, they are anticorrelated, and"
    " their spread is"
    " more than half of the loss itself",
    source="TheDeepChecker (sign changes); the spread separates swings from sampling noise"
    " (design)",
    thresholds=OscillationThresholds(),
    detect=detect,
)
