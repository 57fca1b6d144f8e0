"""Are the training labels worse than those of the held-out samples?

A model that understands held-out samples better than the training samples that it sees again right
afterwards was taught other labels than it is examined on: without dropout, and with rows that come
back unchanged, nothing else makes known samples the harder ones. The usual order is the reverse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sweeper.types import RunRecord

LEAD = 0.25
"""Skill by which the held-out samples must be ahead (sound runs reach 0.13, design)."""
SPREADS = 4.0
"""... and standard errors: evaluations are many, and the largest lead is taken."""
FEWEST = 50
"""Samples of an evaluation, and of the training steps behind it."""
REPEATED = 0.9
"""Share of the training rows of those steps that were trained on before: rows that a transform
changes each time are harder by right."""


@dataclass(frozen=True, kw_only=True)
class Lead:
    """Where held-out samples were furthest ahead."""

    step: int
    held_out: float
    """Accuracy skill of the evaluation."""
    trained: float
    """... and on the training batches from it to the next one, before their updates."""
    spreads: float
    """Their difference in standard errors."""


def held_out_lead(record: RunRecord) -> Lead | None:
    """The evaluation that is clearest ahead of the training batches after it; None without one that
    is ahead by LEAD and SPREADS."""
    evals, facts = record.evals, record.facts
    prior = max(facts.class_prior, default=math.nan)
    if evals is None or facts.task not in ("classification", "binary") or not prior < 1:
        return None
    if any(p > 0 for p in facts.dropout):
        return None
    n, fresh = np.nan_to_num(record.series("n")), np.nan_to_num(record.series("fresh_n"))
    right = record.series("accuracy") * n
    usable = np.isfinite(evals.accuracy) & (evals.skill < 1) & (evals.n >= FEWEST)
    rows = np.flatnonzero(usable & ~(evals.fresh_share < 0.5))
    best: Lead | None = None
    bounds = np.append(evals.step[rows], len(n)).astype(int)
    for row, start, end in zip(rows, bounds[:-1], bounds[1:], strict=True):
        total = float(n[start:end].sum())
        if total < FEWEST or fresh[start:end].sum() > (1 - REPEATED) * total:
            continue
        accuracy = float(right[start:end].sum()) / total
        held_out, tested = float(evals.skill[row]), float(evals.accuracy[row])
        trained = (accuracy - prior) / (1 - prior)
        variance = _variance(tested, evals.n[row]) * ((1 - held_out) / max(1 - tested, 1e-9)) ** 2
        error = math.sqrt(variance + _variance(accuracy, total) / (1 - prior) ** 2)
        spreads = (held_out - trained) / error
        if held_out - trained >= LEAD and spreads >= max(SPREADS, best.spreads if best else 0.0):
            best = Lead(step=int(start), held_out=held_out, trained=trained, spreads=spreads)
    return best


def _variance(share: float, n: float) -> float:
    """Of an observed share, never zero (one more hit and miss than were seen)."""
    near = (share * n + 1) / (n + 2)
    return near * (1 - near) / n
