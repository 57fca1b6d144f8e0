"""A few inputs are absurdly large."""

from __future__ import annotations

import numpy as np

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.diagnosis._outliers import TIMES, times_usual
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    features = e.features
    if features is None or len(features) < 100:
        return None
    times = times_usual(features)
    column = int(np.argmax(times.max(axis=0)))
    worst = float(times[:, column].max())
    if worst < TIMES:
        return None
    rows = float((times > TIMES).any(axis=1).mean())
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
