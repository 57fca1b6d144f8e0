"""Intervals against known values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweeper.types import Interval
from sweeper.verification.intervals import bootstrap_median, paired_difference, wilson


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe 1998, table I, method 3 (Wilson without correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # Design section 11: 5 of 5 gives 0.57.
        (5, 5, 0.5655, 1.0),
        (4, 5, 0.3755, 0.9638),
    ],
)
def test_wilson(k: int, n: int, low: float, high: float) -> None:
    found = wilson(k, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == k / n


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    for k, n in ((2, 1), (-1, 3)):
        with pytest.raises(ValueError, match="successes"):
            wilson(k, n)


def test_bootstrap_median_of_few_is_exact() -> None:
    # All 27 resamples of three values: the median is 1 in 7, 2 in 13, 3 in 7 of them.
    assert bootstrap_median([3.0, 1.0, 2.0]) == Interval(value=2.0, low=1.0, high=3.0)
    # P(median of 5 resampled = smallest) = P(Binomial(5, 1/5) >= 3) = 0.058 > 0.025.
    assert bootstrap_median([5.0, 4.0, 3.0, 2.0, 1.0]) == Interval(value=3.0, low=1.0, high=5.0)


def test_bootstrap_median_of_many_matches_scipy() -> None:
    from scipy.stats import bootstrap

    data = np.random.default_rng(0).normal(size=200)
    ours = bootstrap_median(list(data))
    theirs = bootstrap((data,), np.median, method="percentile", rng=1).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.high, abs=0.03)
    assert ours == bootstrap_median(list(data)), "the same numbers give the same interval"


def test_values_that_are_not_finite_are_left_out() -> None:
    assert bootstrap_median([math.nan, 2.0, math.inf]) == Interval(value=2.0, low=2.0, high=2.0)
    assert math.isnan(bootstrap_median([]).value)


def test_paired_difference() -> None:
    found = paired_difference([0.9, 0.8, math.nan], [0.1, 0.2, 0.3])
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.6) and found.high == pytest.approx(0.8)
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference([1.0], [])
