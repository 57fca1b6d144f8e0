"""What the numbers themselves say: per cent or share, how many classes, how many samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sweeper.types import Floats

MOST_CLASSES = 1000
"""Classes that are guessed from a loss; `--classes` may say more."""
LOSS_BAND = 0.06
"""First loss around ln K, relative (design; batches of 64 stay within 3 %)."""
ACCURACY_BAND = (0.3, 1.7)
"""First accuracy times K (design: an untrained model of K classes is right once in K, give or take
what a few batches scatter)."""
LATE_BAND, LATE_ACCURACY = 0.03, (0.7, 1.3)
"""The same for the last two thirds of a run that never left the level of guessing; the loss of the
last third is within the band of that of the third before."""
FIRST = (5, 1)
"""Rows at the start that show an untrained model; the very first row is the last resort."""
MOST_SAMPLES = 1000
"""Samples that one logged accuracy counts for at most."""
ASSUMED_BATCH = 32
"""Samples that a logged loss counts for where no accuracy tells more (a usual batch; only how many
there are in all is asked, tests on losses use their own spread)."""
ASSUMED_EVALUATED = 100
"""Samples that an evaluation counts for where the log does not say how many: few enough that only
clear differences are significant (design)."""


def as_share(values: Floats, percent: bool) -> Floats | None:
    """Accuracies in [0, 1]; per cent are recognised by a value above 1.5. None: no accuracy."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return values
    low, high = float(finite.min()), float(finite.max())
    if percent or high > 1.5:
        values, low, high = values / 100, low / 100, high / 100
    return values if low >= -1e-6 and high <= 1.005 else None


def guess_classes(loss: Floats, accuracy: Floats) -> int:
    """Number of classes by first losses (ln K) and first accuracies (1 / K) together.

    The mean probability of the right answer is at least exp(-loss), so an accuracy of exp(-loss)
    is that of a model that knows nothing, and its loss tells K.

    0 when they do not agree on a K in [2, `MOST_CLASSES`]: then nothing is known.
    """
    for rows in FIRST:
        k = _classes_at(_middle(loss[:rows]), _mean(accuracy[:rows]), LOSS_BAND, ACCURACY_BAND)
        if k:
            return k
    # A run that went wrong in its first steps may stand at guessing ever after.
    third = len(loss) // 3
    late = slice(2 * third, None)
    before, after = _middle(loss[third : 2 * third]), _middle(loss[late])
    if not abs(after - before) <= LATE_BAND * abs(after):
        return 0
    return _classes_at(_middle(loss[late]), _mean(accuracy[late]), LATE_BAND, LATE_ACCURACY)


def _classes_at(loss: float, right: float, band: float, accuracy_band: tuple[float, float]) -> int:
    if not 0 < loss < math.log(MOST_CLASSES) * (1 + LOSS_BAND) or not math.isfinite(right):
        return 0
    k = max(2, round(math.exp(loss)))
    near = abs(loss - math.log(k)) <= band * math.log(k)
    return k if near and accuracy_band[0] <= right * k <= accuracy_band[1] else 0


def samples_behind(accuracy: Floats) -> Floats:
    """Samples that each accuracy [T] counts for, by how much neighbours scatter.

    The mean of n answers that are right with probability p has variance p (1 - p) / n. Half the
    mean squared difference of neighbours estimates it, in the last third, whatever the trend.
    Smoothed series look like more samples than they are, hence `MOST_SAMPLES`. NaN where no
    accuracy is.
    """
    late = accuracy[len(accuracy) * 2 // 3 :]
    late = late[np.isfinite(late)]
    out = np.where(np.isfinite(accuracy), 1.0, np.nan)
    if len(late) < 4:
        return out * ASSUMED_EVALUATED
    p = float(np.clip(late.mean(), 1e-3, 1 - 1e-3))
    variance = float(np.mean(np.diff(late) ** 2)) / 2
    return out * float(np.clip(p * (1 - p) / max(variance, 1e-12), 1, MOST_SAMPLES))


def _middle(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
