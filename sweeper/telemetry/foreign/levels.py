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
FIRST = 5
"""Rows at the start that show an untrained model."""
MOST_SAMPLES = 1000
"""Samples that one logged accuracy counts for at most."""
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
    """Number of classes by the first losses (ln K) and the first accuracies (1 / K) together.

    0 when they do not agree on a K in [2, `MOST_CLASSES`]: then nothing is known.
    """
    first, right = _start(loss), _start(accuracy)
    if not 0 < first < math.log(MOST_CLASSES) * (1 + LOSS_BAND) or not math.isfinite(right):
        return 0
    k = max(2, round(math.exp(first)))
    near = abs(first - math.log(k)) <= LOSS_BAND * math.log(k)
    low, high = ACCURACY_BAND
    return k if near and k <= MOST_CLASSES and low <= right * k <= high else 0


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


def _start(values: Floats) -> float:
    known = values[np.isfinite(values)][:FIRST]
    return float(known.mean()) if len(known) else math.nan
