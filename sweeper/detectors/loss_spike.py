"""Single losses far outside the spread of those before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._stats import robust_scale
from sweeper.detectors._view import sound_steps
from sweeper.detectors.skill import ill
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class LossSpikeThresholds(Thresholds):
    z: float = limit(6.0, 3.0, 100.0, "robust standard scores")
    """Standard scores over the previous losses (OLMo); 2.5 is for clipping and fires on Gaussian
    noise."""
    window: float = limit(128, 16, 10_000, "losses")
    """Previous losses that make up mean and spread (OLMo)."""
    minimum: float = limit(64, 8, 10_000, "losses")
    """Losses needed before the first verdict (OLMo)."""
    of_level: float = limit(2.0, 1.0, 100.0, "times the median")
    """A spike reaches at least this many times the median before it (design: keeps noise near zero
    quiet)."""
    of_start: float = limit(0.5, 0.0, 100.0, "share of the first losses")
    """... and at least this share of the first losses (design)."""
    peak: float = limit(10.0, 2.0, 1e6, "times the largest before")
    """Times the largest loss before: critical (Megatron)."""
    rate: float = limit(1e-3, 0.0, 1.0, "spikes a step")
    """Spikes per step above which a run is unstable (design)."""


def detect(record: RunRecord, limits: LossSpikeThresholds) -> Detected:
    loss = record.series("loss")[: sound_steps(record)]
    steps = np.flatnonzero(np.isfinite(loss))
    values = loss[steps]
    minimum, window = int(limits.minimum), int(limits.window)
    if len(values) <= minimum:
        return Insufficient(f"{len(values)} finite losses, {minimum + 1} needed")
    start = abs(float(np.median(values[:10])))
    spikes: list[int] = []
    worst, height, kept = 0.0, 0.0, list(values[:minimum])
    largest = max(kept)
    for i in range(minimum, len(values)):
        value = float(values[i])
        # The median test is cheap and settles nearly every step.
        if value > limits.of_start * start and value > 1.5 * kept[-1]:
            middle, spread = robust_scale(np.array(kept[-window:]))
            z = (value - middle) / max(spread, 0.01 * abs(middle), 1e-12)
            if z > limits.z and value > limits.of_level * abs(middle):
                spikes.append(i)
                worst, height = max(worst, z), max(height, value / max(largest, 1e-12))
                largest = max(largest, value)
                continue
        kept.append(value)
        largest = max(largest, value)
    if not spikes:
        return None
    rate = len(spikes) / len(values)
    severe = ill(record) and (height > limits.peak or rate > 10 * limits.rate)
    return Finding(
        symptom=Symptom.LOSS_SPIKE,
        severity=0.6 if severe else (0.3 if rate > limits.rate or height > limits.peak else 0.1),
        reason=f"{len(spikes)} losses stand more than {limits.z:g} spreads above those before them"
        " (worst"
        f" {worst:.3g}, first at step {steps[spikes[0]]})",
        steps=(int(steps[spikes[0]]), int(steps[spikes[-1]])),
        evidence={
            "value": worst,
            "threshold": limits.z,
            "spikes": len(spikes),
            "rate": rate,
            "height": height,
        },
    )


DETECTOR = Detector(
    symptom=Symptom.LOSS_SPIKE,
    definition="a loss more than six robust standard scores above the previous 128 (spikes left"
    " out), at least"
    " twice their median and half of the first losses",
    source="OLMo (z, window), trainspotter (robust form), Megatron (10x)",
    thresholds=LossSpikeThresholds(),
    detect=detect,
)
