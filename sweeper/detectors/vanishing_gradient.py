"""The gradient fades from the output towards the input, so the first layers do not train."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._source_signals import first_update
from sweeper.detectors._stats import persistent
from sweeper.detectors._view import depth_slopes, nanmin_columns, span, update_ratio
from sweeper.detectors.skill import ill
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class VanishingGradientThresholds(Thresholds):
    decades: float = limit(3.0, 0.5, 12.0, "decades")
    """Decades lost from the last layer to the first: critical (AUTOTRAINER's 1e-3)."""
    warn: float = limit(2.0, 0.3, 12.0, "decades")
    """The same, worth a word (torchmortem's 100x)."""
    slow: float = limit(1e-4, 1e-9, 1e-1, "of the weight a step")
    """Update-to-weight ratio under which the weakest layer counts as not trained (design; about
    1e-3 is healthy). Adaptive optimizers undo a small gradient, so a steep profile alone is no
    illness."""


def detect(record: RunRecord, limits: VanishingGradientThresholds) -> Detected:
    layers = record.layers
    decades = depth_slopes(record)
    if layers is None or not np.isfinite(decades).any():
        return Insufficient("no gradient norms of three or more layers")
    held = persistent(np.nan_to_num(decades, nan=0.0) >= limits.warn)
    if held is None:
        return None
    inside = slice(held[0], held[1] + 1)
    value = float(np.nanmedian(decades[inside]))
    weakest = nanmin_columns(update_ratio(layers)[inside])
    starved = weakest is not None and weakest[1] < limits.slow
    critical = value >= limits.decades and starved and ill(record)
    slowest = layers.names[weakest[0]] if weakest else ""
    return Finding(
        symptom=Symptom.VANISHING_GRADIENT,
        severity=0.85 if critical else (0.4 if ill(record) else 0.2),
        reason=f"the gradient per element is {value:.1f} decades smaller at the first layer than at"
        " the last"
        f" (limit {limits.decades:g})"
        + (f"; {slowest} moves by {weakest[1]:.1e} of its size a step" if weakest else ""),
        steps=span(record, layers.step, *held),
        layers=(slowest,) if slowest else (),
        evidence={
            "value": value,
            "threshold": limits.decades,
            "smallest_update_ratio": weakest[1] if weakest else None,
            "at_start": float(decades[0]),
            **first_update(record),
        },
    )


DETECTOR = Detector(
    symptom=Symptom.VANISHING_GRADIENT,
    definition="log10(||g|| / sqrt(n)) falls by three decades or more from the last layer to the"
    " first (line fit"
    " over depth) in three of five checks, and the weakest layer's update ratio is under 1e-4",
    source="AUTOTRAINER (1e-3), torchmortem (100x); the fit and the update condition by design",
    thresholds=VanishingGradientThresholds(),
    detect=detect,
)
