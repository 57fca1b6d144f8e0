"""Small numeric helpers. All of them take NaN as "unknown" and never warn.

Shapes: ``T`` steps or points of one series.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


def ema(values: Floats, beta: float = 0.98) -> Floats:
    """Bias-corrected exponential mean, [T]; unknown points carry the last mean on."""
    out = np.full(len(values), np.nan)
    total = weight = 0.0
    for i, value in enumerate(values):
        if math.isfinite(value):
            total = beta * total + (1 - beta) * float(value)
            weight = beta * weight + (1 - beta)
        if weight > 0:
            out[i] = total / weight
    return out


def trend(values: Floats) -> tuple[float, float]:
    """Ordinary least squares slope per point and its two-sided p-value; (nan, 1) below 8 points."""
    y = np.asarray(values, dtype=float)
    x = np.arange(len(y), dtype=float)[np.isfinite(y)]
    y = y[np.isfinite(y)]
    if len(y) < 8:
        return math.nan, 1.0
    scale = float(np.max(np.abs(y))) or 1.0
    y = y / scale
    x = x - x.mean()
    sxx = float(np.dot(x, x))
    slope = float(np.dot(x, y)) / sxx
    residual = y - y.mean() - slope * x
    variance = float(np.dot(residual, residual)) / (len(y) - 2)
    if variance <= 0:
        return slope * scale, 1.0 if slope == 0 else 0.0
    from scipy.stats import t

    statistic = slope / math.sqrt(variance / sxx)
    return slope * scale, float(2 * t.sf(abs(statistic), len(y) - 2))


def binomial_tail(correct: float, n: int, p: float) -> float:
    """Exact one-sided P[Binomial(n, p) >= correct]; 1 where it cannot be computed."""
    if n <= 0 or not 0 < p < 1 or not math.isfinite(correct):
        return 1.0
    from scipy.stats import binom

    return float(binom.sf(round(correct) - 1, n, p))


def normal_tail(z: float) -> float:
    """One-sided P[Normal >= z]."""
    return 0.5 * math.erfc(z / math.sqrt(2)) if math.isfinite(z) else 1.0


def nanmedian(values: Floats, axis: int | None = None) -> Floats:
    """Median without unknown and infinite entries; NaN where nothing is left."""
    data = np.where(np.isfinite(values), values, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(data, axis=axis), dtype=float)


def median(values: Floats) -> float:
    """Median of the known entries, or NaN."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


def mean(values: Floats, weights: Floats | None = None) -> float:
    """Mean of the known entries, or NaN."""
    known = np.isfinite(values)
    if weights is not None:
        known &= np.isfinite(weights) & (weights > 0)
    if not known.any():
        return math.nan
    return float(np.average(values[known], weights=None if weights is None else weights[known]))


def persistent(mask: Bools, need: int = 3, of: int = 5) -> tuple[int, int] | None:
    """First and last index of the longest stretch in which ``need`` of any ``of`` neighbours hold.

    Short masks ask for their own majority, so a run with two checks is not silent by arithmetic.
    """
    n = len(mask)
    if n == 0 or not mask.any():
        return None
    of = min(of, n)
    need = min(need, math.ceil(of * 0.6))
    counts = np.convolve(mask.astype(int), np.ones(of, dtype=int), mode="valid")
    windows = np.flatnonzero(counts >= need)
    if not len(windows):
        return None
    groups = np.split(windows, np.flatnonzero(np.diff(windows) > 1) + 1)
    longest = max(groups, key=len)
    inside = np.flatnonzero(mask[longest[0] : longest[-1] + of]) + longest[0]
    return int(inside[0]), int(inside[-1])


def sign_changes(differences: Floats) -> float:
    """Share of neighbouring differences with opposite signs."""
    signs = np.sign(differences[np.isfinite(differences)])
    return float(np.mean(signs[1:] * signs[:-1] < 0)) if len(signs) > 1 else 0.0


def lag_one(values: Floats) -> float:
    """Lag-1 autocorrelation; 0 for a constant series."""
    v = values[np.isfinite(values)]
    v = v - v.mean() if len(v) else v
    power = float(np.dot(v, v))
    return float(np.dot(v[1:], v[:-1])) / power if power > 0 else 0.0


def robust_scale(values: Floats) -> tuple[float, float]:
    """Median and 1.4826 x median absolute deviation (the normal-consistent spread)."""
    middle = median(values)
    return middle, 1.4826 * median(np.abs(values - middle))
