"""Sigmoid and tanh units that sit at their ends."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._units import worst_layer
from sweeper.types import RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class SaturatedUnitsThresholds(Thresholds):
    share: float = limit(0.5, 0.05, 1.0, "share of units")
    """Saturated share of a layer that is critical in a run that did not learn (SageMaker Debugger,
    TheDeepChecker)."""
    warn: float = limit(0.3, 0.01, 1.0, "share of units")
    """The same, worth a word (design)."""
    rows: float = limit(64, 8, 1e6, "rows")
    """Rows needed in a sample."""


def detect(record: RunRecord, limits: SaturatedUnitsThresholds) -> Detected:
    if record.activations is None or not len(record.activations.step):
        return Insufficient("no hidden outputs were sampled")
    shares = record.activations.saturated_share
    return worst_layer(
        record, Symptom.SATURATED_UNITS, shares, "saturated", limits.share, limits.warn, limits.rows
    )


DETECTOR = Detector(
    symptom=Symptom.SATURATED_UNITS,
    definition="more than half of a layer's units have |tanh| > 0.95 or a sigmoid outside 0.025 to"
    " 0.975 on 95 % of"
    " the rows; gates of recurrent cells are not counted",
    source="SageMaker Debugger, TheDeepChecker, DeepDiagnosis, torchmortem (0.5)",
    thresholds=SaturatedUnitsThresholds(),
    detect=detect,
)
