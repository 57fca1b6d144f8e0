"""Inputs or targets hold NaN or infinite values."""

from __future__ import annotations

import numpy as np

from sweeper.detectors._stats import median
from sweeper.detectors._view import sound_steps
from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    if e.captured is not None:
        for name, array in (("inputs", e.captured.inputs), ("targets", e.captured.targets)):
            if not np.issubdtype(array.dtype, np.floating) or not array.size:
                continue
            bad = ~np.isfinite(array.reshape(len(array), -1))
            if bad.any():
                count, rows = int(bad.any(axis=1).sum()), float(bad.any(axis=1).mean())
                some = f"{rows:.1%} of the" if rows >= 0.01 else f"{count} of {len(bad)}"
                return hypothesis(
                    Cause.NON_FINITE_DATA,
                    0.97,
                    f"{some} captured {name} {'holds' if count == 1 else 'hold'} NaN or infinite"
                    " values",
                    rows=rows,
                    count=count,
                    where=name,
                )
    if not e.critical(Symptom.NON_FINITE):
        return None
    sound = sound_steps(e.record)
    loss, norm = e.record.series("loss")[:sound], e.record.series("grad_norm")[:sound]
    if e.record.foreign and sound == 0 and e.record.series("step")[0] <= 1:
        return hypothesis(
            Cause.NON_FINITE_DATA,
            0.6,
            "the very first loss is not finite, before any step: the data or the loss function, not"
            " a rate",
            last_sound_step=0,
        )
    # Between two entries of a log a run has time to blow up.
    coarse = e.record.foreign and sound >= 2 and e.record.series("step")[sound - 1] > sound
    if sound >= 3 and not e.hot and not coarse:
        calm = (
            np.nanmax(loss[-3:]) <= 2 * abs(median(loss[:10]))
            if np.isfinite(loss[-3:]).any()
            else False
        )
        level = np.nanmax(norm[-3:]) <= 5 * median(norm) if np.isfinite(norm[-3:]).any() else False
        if calm and level:
            return hypothesis(
                Cause.NON_FINITE_DATA,
                0.68,
                f"loss and gradient were calm up to step {sound - 1} and not finite one step later,"
                " which a bad"
                " sample explains",
                last_sound_step=sound - 1,
            )
    return None


CAUSE = CauseRule(
    cause=Cause.NON_FINITE_DATA,
    definition="captured inputs or targets are not finite, or the loss breaks from one step to the"
    " next without any"
    " growth before",
    source="captured inputs and targets",
    remedies=(),
    explain=explain,
    explains=tuple(c for c in Cause if c is not Cause.NON_FINITE_DATA),
)
