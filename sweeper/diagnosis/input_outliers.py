"""A few inputs are absurdly large."""

from __future__ import annotations

import numpy as np

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom

TIMES = 50.0
"""Largest value over the 99 % quantile of its feature that is absurd (design; real tables reach
about 20)."""


def explain(e: Evidence) -> Hypothesis | None:
    features = e.features
    if features is None or len(features) < 100:
        return None
    middle = np.median(features, axis=0)
    away = np.abs(features - middle)
    most, bulk = np.quantile(away, [0.9, 0.99], axis=0)
    # A feature that is nearly always one value (pixels, counts) has no bulk to compare with.
    usual = np.where(most > 0, bulk, np.inf)
    times = away.max(axis=0) / usual
    column = int(np.argmax(times))
    worst = float(times[column])
    if worst < TIMES:
        return None
    rows = float((away[:, times >= TIMES] > TIMES * usual[times >= TIMES]).any(axis=1).mean())
    belief = 0.4 + 0.15 * min(np.log10(worst / TIMES), 2.0)
    if e.blew_up or e.has(Symptom.EXPLODING_GRADIENT):
        belief += 0.2
    return hypothesis(
        Cause.INPUT_OUTLIERS,
        float(belief),
        f"{rows:.1%} of the rows hold values up to {worst:.3g} times the 99 % quantile of their"
        " feature",
        times=worst,
        rows=rows,
        column=column,
    )


CAUSE = CauseRule(
    cause=Cause.INPUT_OUTLIERS,
    definition="a feature's largest distance from its median is 50 times the 99 % quantile of such"
    " distances",
    source="design",
    remedies=("clamp_outliers", "standardise_inputs", "clip_norm", "learning_rate"),
    explain=explain,
    explains=(
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.UNBOUNDED_GRADIENT,
        Cause.DEAD_ACTIVATION,
        Cause.BAD_INITIALISATION,
    ),
)
