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
    sign_changes: float = limit(0.5, 0.1, 1.0)
    """Share of neighbouring loss differences with opposite signs (TheDeepChecker)."""
    lag_one: float = limit(-0.3, -1.0, 0.0)
    """Lag-1 autocorrelation of the differences (design; -0.5 for pure noise)."""
    spread: float = limit(0.5, 0.05, 10.0)
    """Standard deviation of the differences over sqrt 2, as a share of the mean loss (design).
    Noise of batches of 32 stays near 0.1, a run above 0.5 jumps by half its own level."""
    above_prior: float = limit(1.05, 1.0, 100.0)
    """Mean loss over the prior entropy from which swings are critical: on average worse than
    guessing (design)."""


def detect(record: RunRecord, limits: OscillationThresholds) -> Detected:
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
