"""Learning of a program whose loss is its own and which measures nothing else: how far that falls.

A loss written out by hand (``((model(x) - y) ** 2).mean()``) names neither targets nor a constant
answer, so that no skill can be told. What is left is the loss itself, against what it costs before
training.
"""

from __future__ import annotations

import numpy as np

from sweeper.detectors.skill import FALLEN, UNKNOWN, Skill, adversarial
from sweeper.types import RunRecord

__all__ = ["FALLEN", "FEWEST_STEPS", "fall_of"]

FEWEST_STEPS = 10


def fall_of(record: RunRecord) -> Skill:
    """Share of the loss before training that is gone in the last fifth of the run.

    The level before training is the lowest of the first three losses, of this run or of the
    unchanged program, whichever is lower: a fix that only makes the start worse has not learned.
    From `FALLEN` on a run counts as learning.
    `UNKNOWN` for rivals, runs under ten steps, and losses that do not begin above zero.
    """
    loss = record.series("loss")
    known = loss[np.isfinite(loss)]
    if adversarial(record.facts) or len(known) < FEWEST_STEPS:
        return UNKNOWN
    levels = [float(known[:3].min()), record.facts.first_loss]
    first = min(level for level in levels if not np.isnan(level))
    late = float(known[-max(1, len(known) // 5) :].mean())
    if not first > 0:
        return UNKNOWN
    return Skill(
        name="loss", value=min(1 - late / first, 1.0), p_value=float("nan"), n=len(known),
        where="train", metric=late,
    )  # fmt: skip
