"""Weights hardly move, or do not move at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._source_signals import first_update
from sweeper.detectors._stats import nanmedian
from sweeper.detectors._view import n_steps, update_ratio
from sweeper.detectors.skill import ill
from sweeper.types import Finding, RunRecord, Symptom


@dataclass(frozen=True, kw_only=True)
class StarvedUpdatesThresholds(Thresholds):
    slow: float = limit(1e-5, 1e-9, 1e-2, "of the weight a step")
    """Median update-to-weight ratio that is slow; about 1e-3 is healthy (torchmortem, CS231n)."""
    starved: float = limit(1e-7, 1e-12, 1e-3, "of the weight a step")
    """... that is next to nothing: float32 keeps 1.2e-7 (design)."""
    share: float = limit(0.5, 0.05, 1.0, "share of the weights")
    """Share of the weights that must be slow."""
    steps: float = limit(0.5, 0.05, 1.0, "share of the steps")
    """Share of the sampled steps, read over the whole run: a rate that ends near zero is a
    schedule."""


def detect(record: RunRecord, limits: StarvedUpdatesThresholds) -> Detected:
    layers = record.layers
    if layers is None or len(layers.step) < 2 or not np.isfinite(layers.update_norm).any():
        return Insufficient("no parameter updates were measured")
    ratio = update_ratio(layers)
    # The schedule is dense at the start; rows are weighed by the steps they stand for.
    width = np.diff(np.append(layers.step, max(n_steps(record), layers.step[-1] + 1)))
    usable = np.isfinite(ratio).any(axis=1) & (layers.weight_norm > 0).any(axis=1)
    if not usable.any():
        return Insufficient("no sampled step had finite weights")
    ratio, width, steps = ratio[usable], width[usable], layers.step[usable]
    sizes = np.array(layers.sizes, dtype=float)
    slow_rows = ((ratio < limits.slow) * sizes).sum(axis=1) / sizes.sum() >= limits.share
    lasting = float(np.average(slow_rows, weights=width))
    if lasting < limits.steps:
        return None
    typical = nanmedian(ratio[slow_rows], axis=0)
    slow = typical < limits.slow
    names = tuple(np.array(layers.names)[slow])
    order = np.argsort(typical)
    middle = float(typical[order][np.searchsorted(np.cumsum(sizes[order]), sizes.sum() / 2)])
    frozen = float(sizes[typical == 0].sum() / sizes.sum())
    where = np.flatnonzero(slow_rows)
    severe = ill(record)
    severity = (0.8 if middle < limits.starved else 0.6) if severe else 0.15
    what = (
        f"{frozen:.0%} of the weights never move"
        if frozen > 0.05
        else f"weights move by {middle:.1e} of their size"
    )
    return Finding(
        symptom=Symptom.STARVED_UPDATES,
        severity=severity,
        reason=f"{what} a step (limit {limits.slow:g}) over {lasting:.0%} of the run",
        steps=(
            int(steps[where[0]]),
            n_steps(record) - 1 if where[-1] == len(steps) - 1 else int(steps[where[-1]]),
        ),
        layers=names[:8],
        evidence={
            "value": middle,
            "threshold": limits.slow,
            "frozen_share": frozen,
            "share_of_run": lasting,
            **first_update(record),
        },
    )


DETECTOR = Detector(
    symptom=Symptom.STARVED_UPDATES,
    definition="half of the weights or more have a real update-to-weight ratio under 1e-5 over half"
    " of the run;"
    " critical only when nothing was learned (fine-tuning moves little and is sound)",
    source="torchmortem and CS231n (1e-3 is healthy); the lower bounds by design",
    thresholds=StarvedUpdatesThresholds(),
    detect=detect,
)
