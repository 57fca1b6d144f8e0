"""Different inputs get the same hidden representation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._source_signals import pooled_after_two
from sweeper.detectors._view import n_steps
from sweeper.detectors.skill import ill
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class CollapsedRepresentationThresholds(Thresholds):
    cosine: float = limit(0.95, 0.5, 1.0, "cosine")
    """Mean pairwise cosine of the rows that is a collapse when it grew (design)."""
    growth: float = limit(0.2, 0.0, 1.0, "cosine")
    """Growth since the first sample (design)."""
    from_start: float = limit(0.98, 0.5, 1.0, "cosine")
    """Cosine that is a collapse without growth. A He-initialised ReLU network of 20 layers has
    0.95, of 50 layers 0.99 (arc-cosine recursion), which is why this needs a run that learned
    nothing."""
    rank_drop: float = limit(0.3, 0.01, 1.0, "late rank over early")
    """Effective rank late over early (torchmortem's critical ratio)."""
    rank_left: float = limit(3.0, 1.0, 100.0, "dimensions")
    """Centred effective rank under which a regression's features are one direction (design)."""
    rows: float = limit(16, 4, 100_000, "rows")
    """Rows needed in a sample."""


def detect(record: RunRecord, limits: CollapsedRepresentationThresholds) -> Detected:
    series = record.activations
    if series is None or not len(series.step):
        return Insufficient("no hidden outputs were sampled")
    known = np.isfinite(series.cosine) & (series.n_samples >= limits.rows)[:, None]
    pooled = [i for i, f in enumerate(series.functions) if f == "pooled" and known[:, i].any()]
    columns = pooled or [i for i in range(len(series.names)) if known[:, i].any()][-1:]
    if not columns:
        return Insufficient(f"no sample with {limits.rows:.0f} rows")
    severe = ill(record)
    if not severe:
        return None
    regression = record.facts.task == "regression"
    for column in columns:
        rows = np.flatnonzero(known[:, column])
        first, last = int(rows[0]), int(rows[-1])
        cosine, start = float(series.cosine[last, column]), float(series.cosine[first, column])
        early, late = float(series.erank[first, column]), float(series.erank[last, column])
        ratio = late / early if early > 0 and np.isfinite(late) else 1.0
        grown = cosine > limits.cosine and cosine - start > limits.growth
        always = cosine > limits.from_start
        flat = ratio <= limits.rank_drop and late < limits.rank_left and cosine > limits.cosine
        if not (grown or always or flat):
            continue
        # Features of a regression carry the mean of the targets; only the centred rows tell.
        if regression and ratio > limits.rank_drop and not late < limits.rank_left:
            continue
        since = next(
            int(series.step[r])
            for r in rows
            if series.cosine[r, column] >= min(cosine, limits.cosine)
        )
        return Finding(
            symptom=Symptom.COLLAPSED_REPRESENTATION,
            severity=0.8 if grown or flat else 0.55,
            reason=f"the inputs of {series.names[column] or 'the head'} have mean cosine"
            f" {cosine:.3f} over different"
            f" samples (limit {limits.cosine:g}; {start:.3f} at first), effective rank {late:.1f}"
            f", {early:.1f} at first",
            steps=(since, n_steps(record) - 1),
            layers=(series.names[column],),
            evidence={
                "value": cosine,
                "threshold": limits.cosine,
                "at_start": start,
                "rank_ratio": ratio,
                "rank": late,
                **pooled_after_two(record, column),
            },
        )
    return None


DETECTOR = Detector(
    symptom=Symptom.COLLAPSED_REPRESENTATION,
    definition="the mean pairwise cosine of what the head reads passes 0.95 and grew by 0.2, or its"
    " effective rank"
    " fell to 30 %, or it is above 0.98 from the start, in a run that learned nothing",
    source="torchmortem (rank ratio); the arc-cosine recursion for the level at the start; design",
    thresholds=CollapsedRepresentationThresholds(),
    detect=detect,
)
