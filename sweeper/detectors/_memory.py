"""Whether a run learned or only remembers: the shape of its training curve over repeated passes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sweeper.detectors._measure import from_steps, task_loss
from sweeper.detectors._stats import mean
from sweeper.types import RunRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


NEAR_CHANCE = 0.1
"""Skill below zero that still counts as the constant answer."""
MOST = 0.5
"""Share of the pass boundaries with a jump that must be exceeded."""


def first_pass(record: RunRecord) -> int:
    """Steps of the first pass over the training data; 0 when the data never repeat or nothing
    tells."""
    n, fresh = record.series("n"), record.series("fresh_n")
    if not np.isfinite(fresh).any() or len(fresh) < 8:
        return 0
    share = np.nan_to_num(fresh / np.maximum(n, 1.0))
    # A stretch of repeats ends the pass: single fresh rows come later (drop_last, padding).
    ahead = np.convolve(share < 0.5, np.ones(3), mode="valid")
    ends = np.flatnonzero(ahead >= 3)
    return int(ends[0]) if len(ends) and ends[0] < 0.9 * len(fresh) else 0


def memorised(record: RunRecord) -> bool:
    """Whether training accuracy and loss improved by repeating samples rather than by learning.

    Three things together: the first pass ends at chance on its fresh samples, the training measures
    improve afterwards, and they improve between passes, not inside them. A model that learns gets
    better inside every pass, because each batch also helps with samples it does not hold; a model
    that memorises jumps when the pass starts over. The gain inside passes is the sum of their least
    squares slopes; it and two standard errors must stay under three quarters of the whole gain, for
    the accuracy and for the loss; and most pass boundaries show a jump.
    """
    length = first_pass(record)
    n_steps = len(record.series("loss"))
    if length < 4 or n_steps < 3 * length:
        return False
    steps = np.arange(n_steps)
    early = from_steps(record, (steps < length) & (steps >= length // 2), "fresh")
    if not early or any(skill.significant for skill in early):
        return False
    # Far worse than the constant answer: not even that was learned, which says nothing about
    # fresh samples.
    if any(s.name in ("accuracy", "r2") and s.value < -NEAR_CHANCE for s in early):
        return False
    measures = [v for v in (record.series("accuracy"), -task_loss(record)) if np.isfinite(v).any()]
    return bool(measures) and all(_by_jumps(values, length) for values in measures)


def _by_jumps(values: Floats, length: int) -> bool:
    """Whether ``values`` [T] grew between passes of ``length`` steps and not inside them."""
    passes = len(values) // length
    table = values[length : passes * length].reshape(passes - 1, length)
    if not np.isfinite(table).all():
        return False
    gain = mean(table[-1]) - mean(values[length - max(5, length // 8) : length])
    position = (np.arange(length) + 0.5) / length - 0.5
    power = float(np.dot(position, position))
    slopes = table @ position / power
    residual = table - table.mean(axis=1, keepdims=True) - slopes[:, None] * position
    variance = float((residual**2).sum()) / max(1, (passes - 1) * (length - 2))
    inside, error = float(slopes.sum()), math.sqrt(variance / power * (passes - 1))
    if not (gain > 0 and inside < 0.5 * gain and inside + 2 * error < 0.75 * gain):
        return False
    # Between the middles of two passes lie one slope and one jump. Later passes have nothing left
    # to remember.
    levels = table.mean(axis=1)
    rising = levels[:-1] < levels[0] + 0.9 * (levels.max() - levels[0])
    jumps = np.diff(levels) - (slopes[:-1] + slopes[1:]) / 2
    return not rising.any() or float((jumps[rising] > 0).mean()) > MOST
