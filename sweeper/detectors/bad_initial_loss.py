"""The very first losses are far above what an untrained model of this task should cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._stats import median
from sweeper.detectors.skill import ill, in_nats, n_classes
from sweeper.types import Facts, Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class BadInitialLossThresholds(Thresholds):
    excess: float = limit(1.0, 0.1, 100.0, "times the expected loss")
    """(L0 - ln K) / ln K that is critical (TheDeepChecker)."""
    warn: float = limit(0.5, 0.05, 100.0, "times the expected loss")
    """The same, worth a word (design)."""
    squared: float = limit(10.0, 2.0, 1e6, "times the expected loss")
    """First squared error over the mean square of the targets, which a zero output costs
    (design)."""


def expected_loss(facts: Facts) -> float:
    """Loss of an untrained model: ln K, or the mean square of the targets; NaN when unknown."""
    if facts.loss_function == "mse_loss":
        known = facts.target_square
        return known if math.isfinite(known) else facts.target_variance + facts.target_mean**2
    k = n_classes(facts)
    return math.log(k) if k >= 2 else math.nan


def detect(record: RunRecord, limits: BadInitialLossThresholds) -> Detected:
    facts = record.facts
    expected = expected_loss(facts)
    loss = record.series("task_loss")[:3]
    if not expected > 0 or not (in_nats(record) or facts.loss_function == "mse_loss"):
        return Insufficient("what an untrained model should cost is unknown for this loss")
    if not np.isfinite(loss).any():
        return Insufficient("no finite loss among the first three")
    # Only the first loss is before any update, but a single tiny batch says little.
    n = record.series("n")[:1]
    single = bool(n.size and n[0] >= 16) and math.isfinite(float(loss[0]))
    first = float(loss[0]) if single else median(loss)
    excess = (first - expected) / expected
    squared = facts.loss_function == "mse_loss"
    critical, warn = (
        (limits.squared, limits.squared / 2) if squared else (limits.excess, limits.warn)
    )
    if excess < warn:
        return None
    return Finding(
        symptom=Symptom.BAD_INITIAL_LOSS,
        severity=(0.7 if ill(record) else 0.35) if excess >= critical else 0.2,
        reason=f"the first loss is {first:.4g} where an untrained model should cost {expected:.4g}"
        f" (excess {excess:.3g}, limit {critical:g})",
        steps=(0, 0),
        evidence={"value": excess, "threshold": critical, "first": first, "expected": expected},
    )


DETECTOR = Detector(
    symptom=Symptom.BAD_INITIAL_LOSS,
    definition="the first loss exceeds ln K (for squared error the mean square of the targets) by"
    " its own size or"
    " more; a smaller first loss is the mark of a pretrained model and no symptom",
    source="TheDeepChecker",
    thresholds=BadInitialLossThresholds(),
    detect=detect,
)
