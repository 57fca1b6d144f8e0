"""Loss, gradient or weights are NaN or infinite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._view import broken, broken_weights, n_steps
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class NonFiniteThresholds(Thresholds):
    share: float = limit(0.05, 0.0, 1.0, "share of the steps")
    """Share of non-finite steps above which a run is ill although it came back (design; one skipped
    batch in a hundred does no harm)."""
    zero_losses: float = limit(3, 2, 1000, "losses in a row")
    """Consecutive losses of exactly 0 without a gradient norm, as trainers that filter NaN log them
    (transformers' ``logging_nan_inf_filter``)."""


def detect(record: RunRecord, limits: NonFiniteThresholds) -> Detected:
    total = n_steps(record)
    if total == 0:
        return Insufficient("no steps")
    bad = broken(record)
    weights = broken_weights(record)
    if not bad.any() and weights is None:
        return (
            _filtered(record, limits)
            if np.isfinite(record.series("loss")).any()
            else _nothing(record)
        )
    first = int(np.flatnonzero(bad)[0]) if bad.any() else weights[0] if weights else 0
    layers = weights[1] if weights else ()
    lasting = bool(bad[-1]) or weights is not None
    share = 1.0 - first / total if lasting else float(bad.mean())
    critical = lasting or share > limits.share
    what = "the loss" if not np.isfinite(record.series("loss")[first]) else "the gradient"
    if not bad.any():
        what = f"the weight of {layers[0]}"
    until = "to the end" if lasting else f"in {share:.1%} of the steps (limit {limits.share:.0%})"
    return Finding(
        symptom=Symptom.NON_FINITE,
        severity=1.0 if lasting else (0.6 if critical else 0.3),
        reason=f"{what} is not finite from step {first} {until}",
        steps=(first, total - 1 if lasting else int(np.flatnonzero(bad)[-1])),
        layers=layers[:5],
        evidence={"value": share, "threshold": limits.share, "first_step": first},
    )


def _nothing(record: RunRecord) -> Detected:
    if np.isfinite(record.series("grad_norm")).any():
        return None
    # A loss that is missing was not seen; one that is NaN in every row was.
    told = record.outcome.status == "program_error" and "loss" in record.steps
    if record.outcome.status == "hopeless" or told:
        last = n_steps(record) - 1
        return Finding(
            symptom=Symptom.NON_FINITE,
            severity=1.0,
            reason="no step had a finite loss",
            steps=(0, last),
            evidence={"value": 1.0, "threshold": 0.0, "first_step": 0},
        )
    return Insufficient("neither loss nor gradient norm was seen")


def _filtered(record: RunRecord, limits: NonFiniteThresholds) -> Detected:
    zero = (record.series("loss") == 0) & ~np.isfinite(record.series("grad_norm"))
    need = int(limits.zero_losses)
    if record.foreign:  # the reader of logs knows which gradients were left out, and says NaN
        return None
    if not np.isfinite(record.series("grad_norm")).any() or zero.sum() < need:
        return None
    runs = np.convolve(zero.astype(int), np.ones(need, dtype=int), mode="valid")
    starts = np.flatnonzero(runs == need)
    if not len(starts):
        return None
    return Finding(
        symptom=Symptom.NON_FINITE,
        severity=0.9,
        reason=f"{need} or more losses in a row are exactly 0 without a gradient from step"
        f" {starts[0]}",
        steps=(int(starts[0]), int(np.flatnonzero(zero)[-1])),
        evidence={"value": int(zero.sum()), "threshold": need, "first_step": int(starts[0])},
    )


DETECTOR = Detector(
    symptom=Symptom.NON_FINITE,
    definition="the loss, the global gradient norm or a weight is NaN or infinite at a step that no"
    " GradScaler"
    " skipped; immediate, no persistence asked for",
    source="transformers and AUTOTRAINER check the loss, SageMaker Debugger the tensors",
    thresholds=NonFiniteThresholds(),
    detect=detect,
)
