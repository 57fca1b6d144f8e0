"""Gradients grow towards the input, or are far too large as a whole, or jump."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._source_signals import first_update, layer_norms
from sweeper.detectors._stats import median, persistent
from sweeper.detectors._view import broken, depth_slopes, n_steps, span
from sweeper.detectors.skill import ill
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class ExplodingGradientThresholds(Thresholds):
    decades: float = limit(3.0, 0.5, 12.0, "decades")
    """Decades gained from the last layer to the first: critical (design)."""
    warn: float = limit(1.85, 0.3, 12.0, "decades")
    """The same, worth a word (AUTOTRAINER's beta3 = 70)."""
    norm: float = limit(1e3, 1.0, 1e12, "gradient norm")
    """Global 2-norm before clipping (torchmortem)."""
    jump: float = limit(100.0, 5.0, 1e9, "times the median")
    """Largest norm over the run's median that is critical in an ill run (the 10x of other systems
    fires on the tails of healthy recurrent models; design)."""
    window: float = limit(50, 5, 10_000, "steps")
    """Steps before a non-finite step in which a jump explains it."""


def detect(record: RunRecord, limits: ExplodingGradientThresholds) -> Detected:
    norm = record.series("grad_norm")
    total = n_steps(record)
    finite = np.isfinite(norm)
    if not finite.any() and not np.isinf(norm).any():
        return Insufficient("no gradient norm was seen")
    severe = ill(record)
    size = _size(record, limits, severe)
    profile = _profile(record, limits, severe)
    if size is None or (profile is not None and profile.severity >= size.severity):
        return profile
    bad = broken(record)
    if bad.any() and size.critical and total:
        return Finding(
            symptom=size.symptom,
            severity=size.severity,
            reason=size.reason,
            steps=(size.steps[0], int(np.flatnonzero(bad)[0])),
            layers=size.layers,
            evidence=size.evidence,
        )
    return size


def _size(record: RunRecord, limits: ExplodingGradientThresholds, severe: bool) -> Finding | None:
    norm = record.series("grad_norm")
    finite = np.flatnonzero(np.isfinite(norm))
    if not len(finite):
        return None
    values = norm[finite]
    typical = median(values)
    bad = np.flatnonzero(broken(record))
    # Before a run goes non-finite the last finite norms tell; half of the run is then already too
    # late.
    lasting = persistent(values > limits.norm)
    peak = int(np.argmax(values))
    early = median(values[: max(5, peak // 2)])
    height = float(values[peak] / max(min(typical, early), 1e-12))
    ended = len(bad) > 0 and bad[0] - finite[peak] <= limits.window
    large = values[peak] > limits.norm
    jumped = height > limits.jump and (large or ended)
    if not (lasting is not None or large or jumped):
        return None
    critical = severe and (lasting is not None or jumped or (large and peak <= 5))
    over = np.flatnonzero(values > limits.norm)
    first = int(finite[over[0]]) if len(over) else int(finite[peak])
    last = int(finite[over[-1]]) if len(over) else int(finite[peak])
    return Finding(
        symptom=Symptom.EXPLODING_GRADIENT,
        severity=0.85 if critical else (0.4 if severe else 0.2),
        reason=f"the gradient norm reaches {values[peak]:.3g} at step {finite[peak]} (limit"
        f" {limits.norm:g}),"
        f" {height:.3g} times its usual size",
        steps=(first, last),
        evidence={
            "value": float(values[peak]),
            "threshold": limits.norm,
            "times_usual": height,
            "share_above": float((values > limits.norm).mean()),
            "peak_step": int(finite[peak]),
            **first_update(record),
            **layer_norms(record, int(finite[peak])),
        },
    )


def _profile(
    record: RunRecord, limits: ExplodingGradientThresholds, severe: bool
) -> Finding | None:
    layers = record.layers
    decades = depth_slopes(record)
    if layers is None or not len(decades):
        return None
    held = persistent(np.nan_to_num(-decades, nan=0.0) >= limits.warn)
    if held is None:
        return None
    value = float(np.nanmedian(-decades[held[0] : held[1] + 1]))
    return Finding(
        symptom=Symptom.EXPLODING_GRADIENT,
        severity=(0.7 if value >= limits.decades else 0.4) if severe else 0.2,
        reason=f"the gradient per element is {value:.1f} decades larger at the first layer than at"
        " the last"
        f" (limit {limits.decades:g})",
        steps=span(record, layers.step, *held),
        layers=layers.names[:1],
        evidence={
            "value": value,
            "threshold": limits.decades,
            "at_start": float(-decades[0]),
            **first_update(record),
        },
    )


DETECTOR = Detector(
    symptom=Symptom.EXPLODING_GRADIENT,
    definition="the gradient per element grows by three decades from the last layer to the first,"
    " or the global"
    " norm passes 1e3, or it jumps to a hundred times its usual size before the loss breaks;"
    " critical only in a run"
    " that did not learn",
    source="AUTOTRAINER (profile), torchmortem (norm)",
    thresholds=ExplodingGradientThresholds(),
    detect=detect,
)
