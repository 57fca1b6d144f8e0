"""The loss left its minimum upwards and stayed away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._stats import ema, trend
from sweeper.detectors._view import least_rows, n_steps, sound_steps, warm_up
from sweeper.detectors.skill import ill
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class DivergenceThresholds(Thresholds):
    rise: float = limit(2.0, 1.1, 100.0, "times the minimum")
    """Smoothed loss over its running minimum: 2x in TheDeepChecker, 1.5x in trainspotter."""
    of_start: float = limit(0.5, 0.0, 10.0, "share of the first losses")
    """The smoothed loss must be at least this share of the first losses, or the rise is noise near
    zero (design)."""
    peak: float = limit(10.0, 2.0, 1e6, "times the first losses")
    """Largest loss over the first ones that tells an explosion, wherever it was (Megatron's
    factor)."""
    p_value: float = limit(0.05, 1e-6, 0.5, "probability")
    """Of the upward slope behind the minimum (trainspotter)."""


def detect(record: RunRecord, limits: DivergenceThresholds) -> Detected:
    sound = sound_steps(record)
    loss = record.series("loss")[:sound]
    known = np.flatnonzero(np.isfinite(loss))
    needed = least_rows(record, 20, 8)
    if len(known) < needed:
        return Insufficient(f"{len(known)} finite losses, {needed} needed")
    values = loss[known]
    start = float(np.median(values[: max(3, min(10, len(values) // 20))]))
    start = max(abs(start), 1e-12)
    peak = int(np.argmax(values))
    smooth = ema(values, 0.9)
    skip = min(warm_up(record), len(values) // 5)
    low = int(np.argmin(smooth[skip:])) + skip
    rise = float(smooth[-1] / max(smooth[low], 1e-12)) if smooth[low] > 0 else 0.0
    severe = ill(record)
    if float(values[peak]) > limits.peak * start and low > peak:
        came_back = bool(smooth[-1] < limits.rise * start)
        return Finding(
            symptom=Symptom.DIVERGENCE,
            severity=(0.6 if came_back else 0.9) if severe else 0.3,
            reason=f"the loss rose to {values[peak]:.3g} at step {known[peak]},"
            f" {values[peak] / start:.3g} times its start (limit {limits.peak:g})",
            steps=(int(known[max(0, int(np.argmax(values > 2 * start)))]), int(known[peak])),
            evidence={
                "value": float(values[peak] / start),
                "threshold": limits.peak,
                "peak": float(values[peak]),
            },
        )
    slope, p = trend(smooth[low:])
    rising = slope > 0 and p < limits.p_value
    if rise < limits.rise or smooth[-1] < limits.of_start * start or not rising:
        return None
    return Finding(
        symptom=Symptom.DIVERGENCE,
        severity=0.9 if severe else 0.4,
        reason=f"the smoothed loss ends at {smooth[-1]:.3g}, {rise:.3g} times its minimum at step"
        f" {known[low]} (limit {limits.rise:g})",
        steps=(int(known[low]), n_steps(record) - 1),
        evidence={
            "value": rise,
            "threshold": limits.rise,
            "minimum": float(smooth[low]),
            "start": start,
        },
    )


DETECTOR = Detector(
    symptom=Symptom.DIVERGENCE,
    definition="the smoothed loss ends at twice its minimum or more with a significant upward"
    " slope, or the loss"
    " once passed ten times its start",
    source="TheDeepChecker (2x), trainspotter (1.5x with p < 0.05), Megatron (10x)",
    thresholds=DivergenceThresholds(),
    detect=detect,
)
