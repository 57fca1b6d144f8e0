"""Views of a run record that several detectors share. Shapes as in ``sweeper.types``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sweeper.detectors._stats import nanmedian
from sweeper.types import LayerSeries, RunRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


def n_steps(record: RunRecord) -> int:
    """Optimizer steps in the record."""
    return len(record.series("loss"))


def warm_up(record: RunRecord) -> int:
    """Steps at the start that prove nothing: 20 or 2 % of the run, at most a fifth of it."""
    total = n_steps(record)
    return min(max(20, math.ceil(0.02 * total)), total // 5)


def broken(record: RunRecord) -> Bools:
    """Steps [T] whose loss or gradient is not finite. NaN also means "unknown", so it counts only
    where the other signal does not deny it: an infinite value always, a NaN loss unless its
    gradient is finite, a NaN gradient alone only where gradients were known before and no
    GradScaler skipped the step."""
    loss, norm = record.series("loss"), record.series("grad_norm")
    if record.foreign and "loss" in record.steps:
        return _broken_in_log(loss, norm)
    skipped = record.series("skipped") == 1
    loss_known, norm_known = _known_somewhere(loss), _known_somewhere(norm)
    bad = np.isinf(loss)
    if loss_known:
        bad |= np.isnan(loss) & ~(np.isfinite(norm) if norm_known else np.zeros(len(loss), bool))
        bad |= np.isinf(norm) & ~skipped
    elif norm_known:
        bad |= (
            (np.isnan(norm) | np.isinf(norm))
            & ~skipped
            & (np.arange(len(norm)) > _first(np.isfinite(norm)))
        )
    return np.asarray(bad, dtype=bool)


def _broken_in_log(loss: Floats, norm: Floats) -> Bools:
    """A log's NaN loss was written, not left out. Gradients that are not finite (infinite in the
    record, however they were spelled) count only from the third in a row at the end: a loss scaler
    skips such steps and the log does not say so."""
    bad = ~np.isfinite(loss)
    calm = np.flatnonzero(~np.isinf(norm))
    tail = len(norm) - 1 - (int(calm[-1]) if len(calm) else -1)
    if tail >= 3:
        bad[len(norm) - tail :] = True
    return np.asarray(bad, dtype=bool)


def least_rows(record: RunRecord, steps: float, epochs: float) -> int:
    """Rows that a rule needs: of single steps, or of epochs, which are means over many steps."""
    return int(epochs if record.rows == "epochs" else steps)


def broken_weights(record: RunRecord) -> tuple[int, tuple[str, ...]] | None:
    """First sampled step of the last stretch with NaN weights, and the layers that have them.

    None when the last sampled weights are known. An infinite norm is only its own overflow: huge
    weights come back.
    """
    layers = record.layers
    if layers is None or not layers.weight_norm.size:
        return None
    bad = np.isnan(layers.weight_norm)
    rows = np.asarray(bad.any(axis=1), dtype=bool)
    if not rows[-1]:
        return None
    first = int(np.flatnonzero(~rows)[-1]) + 1 if not rows.all() else 0
    names = tuple(name for name, hit in zip(layers.names, bad[first], strict=True) if hit)
    return int(layers.step[first]), names


def sound_steps(record: RunRecord) -> int:
    """Steps before the run went non-finite for good (all of them when it did not)."""
    bad = broken(record)
    if not len(bad) or not bad[-1]:
        return len(bad)
    return int(np.flatnonzero(~bad)[-1]) + 1 if (~bad).any() else 0


def span(record: RunRecord, sampled: Floats, first: int, last: int) -> tuple[int, int]:
    """Steps of the sampled rows ``first`` to ``last``; the last row stands for the steps until the
    next one."""
    end = (
        int(sampled[last + 1]) - 1
        if last + 1 < len(sampled)
        else max(n_steps(record) - 1, int(sampled[last]))
    )
    return int(sampled[first]), end


def depth_slopes(record: RunRecord) -> Floats:
    """Decades that the gradient per element changes from the first layer to the last, [S].

    Fit of log10(||g|| / sqrt(n)) against depth; positive: it fades towards the input, negative: it
    grows. Embeddings are left out (their gradient is sparse). NaN with fewer than three layers that
    have gradients. A gradient that is exactly zero counts as 12 decades under the largest one.
    """
    layers = record.layers
    if layers is None:
        return np.zeros(0)
    kinds = {fact.name: fact.kind for fact in record.facts.layers}
    use = [i for i, name in enumerate(layers.names) if "mbedding" not in kinds.get(owner(name), "")]
    scaled = layers.grad_norm[:, use] / np.sqrt(
        np.array([layers.sizes[i] for i in use], dtype=float)
    )
    out = np.full(len(layers.step), np.nan)
    for row, values in enumerate(scaled):
        known = np.isfinite(values)
        top = float(values[known].max()) if known.any() else 0.0
        if known.sum() < 3 or top <= 0:
            continue
        y = np.log10(np.maximum(values[known], top * 1e-12))
        x = np.linspace(0.0, 1.0, len(y)) - 0.5
        out[row] = float(np.dot(x, y) / np.dot(x, x))
    return out


def owner(parameter: str) -> str:
    """Module path of a parameter name."""
    return parameter.rpartition(".")[0]


def update_ratio(layers: LayerSeries) -> Floats:
    """Update-to-weight ratio [S, L]; NaN or infinite where a run broke."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return layers.update_ratio


def typical_ratio(record: RunRecord) -> Floats:
    """Median update-to-weight ratio of each layer over the run after its first samples, [L]."""
    layers = record.layers
    if layers is None or not len(layers.step):
        return np.zeros(0)
    # Zero-initialised layers have no meaningful ratio at first (||W|| is 0).
    rows = slice(min(10, len(layers.step) // 3), None)
    return nanmedian(update_ratio(layers)[rows], axis=0)


def _known_somewhere(values: Floats) -> bool:
    return bool(np.isfinite(values).any())


def _first(mask: Bools) -> int:
    return int(np.argmax(mask))


def nanmin_columns(values: Floats) -> tuple[int, float] | None:
    """Column with the smallest median over the rows, and that median; None when nothing is
    known."""
    medians = nanmedian(values, axis=0)
    if not np.isfinite(medians).any():
        return None
    column = int(np.nanargmin(medians))
    return column, float(medians[column])
