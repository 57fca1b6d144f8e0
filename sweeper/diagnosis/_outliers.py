"""Values far outside of what their feature usually holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.types import Floats

TIMES = 50.0
"""Largest value over the 99 % quantile of its feature that is absurd (design; real tables reach
about 20)."""


def times_usual(features: Floats) -> Floats:
    """Distance of each value of ``features`` [N, D] from its feature's median over the 99 %
    quantile of such distances, [N, D]; 0 for features that are nearly always one value (pixels,
    counts), which have no bulk to compare with."""
    away = np.abs(features - np.median(features, axis=0))
    most, bulk = np.quantile(away, [0.9, 0.99], axis=0)
    return np.asarray(away / np.where(most > 0, bulk, np.inf), dtype=np.float64)


def outlying(features: Floats) -> NDArray[np.bool_]:
    """Rows of ``features`` [N, D] with an absurd value, [N]."""
    if not features.size:
        return np.zeros(len(features), dtype=np.bool_)
    return np.asarray((times_usual(features) > TIMES).any(axis=1), dtype=np.bool_)
