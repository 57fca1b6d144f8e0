"""Rectifier units that are zero on every sample."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._units import worst_layer
from sweeper.types import RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class DeadUnitsThresholds(Thresholds):
    share: float = limit(0.5, 0.05, 1.0, "share of units")
    """Dead share of a layer that is critical in a run that did not learn (SageMaker Debugger,
    TheDeepChecker)."""
    warn: float = limit(0.3, 0.01, 1.0, "share of units")
    """The same, worth a word (0.2 by design; sparse inputs and narrow layers reach it in
    health)."""
    flattened: float = limit(0.98, 0.5, 1.0, "share of units")
    """Dead share from which the flattened map of a convolution counts at all: its units are places,
    and places at the border of an image see nothing in health."""
    rows: float = limit(128, 8, 1e6, "rows")
    """Rows needed in a sample; definitions ask for 1,024 samples or 8 batches."""


def detect(record: RunRecord, limits: DeadUnitsThresholds) -> Detected:
    if record.activations is None or not len(record.activations.step):
        return Insufficient("no hidden outputs were sampled")
    shares = record.activations.dead_share.copy()
    places = _flattened(record)
    shares[:, places] *= shares[:, places] >= limits.flattened
    return worst_layer(
        record, Symptom.DEAD_UNITS, shares, "dead", limits.share, limits.warn, limits.rows
    )


def _flattened(record: RunRecord) -> list[int]:
    """Columns whose reader is a dense layer right behind a convolution."""
    layers = record.facts.layers
    readers = {
        after.name
        for before, after in pairwise(layers)
        if "Conv" in before.kind and "Linear" in after.kind
    }
    names = record.activations.names if record.activations else ()
    return [i for i, name in enumerate(names) if name in readers]


DETECTOR = Detector(
    symptom=Symptom.DEAD_UNITS,
    definition="more than half of a layer's rectifier units give zero on every sampled row to the"
    " end of the run;"
    " never the share of zero elements, which is high in health",
    source="SageMaker Debugger and TheDeepChecker (0.5)",
    thresholds=DeadUnitsThresholds(),
    detect=detect,
)
