"""The signals that the first sources of this project look at, kept as evidence beside our own.

They carry thresholds of their own and are never judged: sound runs pass them often (the signed sum
of a step's changes crosses zero).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sweeper.types import RunRecord

VANISHING_SUM = 0.01
"""Signed sum of the first layer's change in a step, absolute, under which their gradient has
vanished (about 15 in their sound example; they say to adjust it)."""
EXPLODING_SUM = 1000.0
"""... and above which it has exploded."""
TWO_BATCHES = 2
"""Steps after which they compare the pooled vectors of different texts."""


def first_update(record: RunRecord) -> dict[str, Any]:
    """Median size of the first layer's signed update sum, and how often it passes their limits."""
    layers = record.layers
    if layers is None:
        return {}
    sums = np.abs(layers.first_update_sum[np.isfinite(layers.first_update_sum)])
    if not sums.size:
        return {}
    return {
        "first_update_sum": float(np.median(sums)),
        "share_under": float((sums < VANISHING_SUM).mean()),
        "share_over": float((sums > EXPLODING_SUM).mean()),
        "first_update_limits": [VANISHING_SUM, EXPLODING_SUM],
    }


def layer_norms(record: RunRecord, step: int) -> dict[str, Any]:
    """Gradient norm of each parameter before and after the clip, at the sample nearest to a
    step."""
    layers = record.layers
    if layers is None or not len(layers.step):
        return {}
    row = int(np.argmin(np.abs(layers.step - step)))
    at = min(int(layers.step[row]), len(record.series("loss")) - 1)
    before, after = record.series("grad_norm")[at], record.series("clipped_norm")[at]
    known = np.isfinite(before) and np.isfinite(after) and before > 0
    factor = float(after / before) if known else 1.0
    pairs = zip(layers.names, layers.grad_norm[row].tolist(), strict=True)
    told = sorted(((n, v) for n, v in pairs if np.isfinite(v)), key=lambda p: -p[1])[:5]
    return {"norms_at": at, "norms": {name: [v, v * factor] for name, v in told}}


def pooled_after_two(record: RunRecord, column: int) -> dict[str, Any]:
    """Mean cosine of what the head reads for different samples, after two batches."""
    series = record.activations
    if series is None:
        return {}
    rows = np.flatnonzero((series.step >= TWO_BATCHES) & np.isfinite(series.cosine[:, column]))
    if not len(rows):
        return {}
    return {"after_two_batches": float(series.cosine[rows[0], column])}
