"""What the detectors of dead and of saturated units share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweeper.detectors._base import Detected, Insufficient
from sweeper.detectors._view import n_steps
from sweeper.detectors.skill import ill
from sweeper.types import ActivationSeries, Finding, RunRecord, Symptom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def worst_layer(
    record: RunRecord,
    symptom: Symptom,
    shares: Floats,
    word: str,
    critical: float,
    warn: float,
    rows: float,
) -> Detected:
    """Finding for the layer with the largest share [A, M] of bad units that holds to its last
    sample.

    Shares of samples with fewer than ``rows`` rows are not read: a unit that fires rarely looks
    dead on few.
    """
    series = record.activations
    assert series is not None
    known = np.isfinite(shares) & (series.n_samples >= rows)[:, None]
    if not known.any():
        return Insufficient(f"no layer with such units was sampled on {rows:.0f} rows")
    late = np.array([_late(shares[known[:, c], c]) for c in range(shares.shape[1])])
    column = int(np.nanargmax(late))
    value = float(late[column])
    if value < warn:
        return None
    severe = ill(record)
    hit = known[:, column] & (shares[:, column] >= min(value, warn))
    first = int(np.flatnonzero(hit)[0])
    layers = tuple(_label(series, int(c)) for c in np.flatnonzero(late >= warn))
    return Finding(
        symptom=symptom,
        severity=(0.75 if value >= critical else 0.4) if severe else 0.15,
        reason=f"{value:.0%} of the units at {_label(series, column)} are {word} on every row"
        f" (limit {critical:.0%})"
        + (
            " from the first sample on" if first == int(np.flatnonzero(known[:, column])[0]) else ""
        ),
        steps=(int(series.step[first]), n_steps(record) - 1),
        layers=layers[:8],
        evidence={
            "value": value,
            "threshold": critical,
            "at_start": float(shares[known[:, column], column][0]),
            "layers_over": int((late >= critical).sum()),
            "layers": int(np.isfinite(late).sum()),
        },
    )


def _late(values: Floats) -> float:
    """The smaller of the last two samples: one batch may lie."""
    return float(values[-2:].min()) if len(values) else float("nan")


def _label(series: ActivationSeries, column: int) -> str:
    return (
        f"{series.names[column]} ({series.functions[column]})"
        if series.functions[column]
        else series.names[column]
    )
