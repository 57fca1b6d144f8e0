"""Intervals for shares, medians and paired differences. Nothing here draws an unseeded random
number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sweeper.types import Interval

LEVEL = 0.95
RESAMPLES = 4000
SEED = 20240501
"""Fixed, so that the same numbers always give the same interval."""
EXACT_UP_TO = 6
"""Samples up to which every resample is enumerated (6**6 = 46,656): no chance is involved then."""


def wilson(successes: int, n: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a share (Wilson 1927); [0, 1] when nothing was tried."""
    if not 0 <= successes <= n:
        raise ValueError(f"successes are between 0 and {n}, got {successes}")
    if n == 0:
        return Interval(value=math.nan, low=0.0, high=1.0)
    z = _normal_quantile(0.5 + level / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and n the border is exactly 0 or 1; rounding must not move it.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return Interval(value=share, low=low, high=high)


def bootstrap_median(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Median with a percentile bootstrap interval; values that are not finite are left out.

    One value gives an interval of no width, none gives NaN: with k seeds the interval says how the
    seeds differ, not how far the median is known beyond them.
    """
    data = np.asarray([v for v in values if math.isfinite(v)], float)
    if not len(data):
        return Interval(value=math.nan, low=math.nan, high=math.nan)
    medians = np.sort(np.median(data[_resamples(len(data))], axis=1))
    tail = (1 - level) / 2
    low, high = np.quantile(medians, [tail, 1 - tail], method="closest_observation")
    return Interval(value=float(np.median(data)), low=float(low), high=float(high))


def paired_difference(
    ours: Sequence[float], control: Sequence[float], level: float = LEVEL
) -> Interval:
    """Median of ours minus control at the same seeds, with a bootstrap over the pairs.

    A pair with a value that is not finite is left out: the difference to a diverged run is not a
    number.
    """
    if len(ours) != len(control):
        raise ValueError(
            f"pairs come from the same seeds, got {len(ours)} and {len(control)} values"
        )
    return bootstrap_median([a - b for a, b in zip(ours, control, strict=True)], level)


def _resamples(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Indices [R, n]: every resample of a small sample, else a fixed random choice of them."""
    if n <= EXACT_UP_TO:
        return np.indices((n,) * n).reshape(n, -1).T
    return np.random.default_rng(SEED).integers(0, n, size=(RESAMPLES, n))


def _normal_quantile(p: float) -> float:
    """Inverse of the normal distribution function, from the standard library."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)
