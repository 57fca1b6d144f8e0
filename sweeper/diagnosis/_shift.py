"""Do the targets belong to the inputs a few rows away?

One half of the captured rows teaches a very simple model (class means, word counts, ridge), the
other half is asked, once as the rows are and once with the targets moved. Milliseconds, so that it
can be asked whenever labels look unrelated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.detectors._stats import binomial_tail, normal_tail
from sweeper.diagnosis._probe import main_direction, token_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.telemetry.record import Captured
    from sweeper.types import Facts

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

LAGS = (1, -1, 2, -2, 3, -3, 4, -4)
"""Rows by which targets are moved; off-by-one is the common mistake."""
FEWEST = 100
"""Rows under which nothing is said."""
ROWS = 3000
BINS = 2048
"""Hashed columns of a bag of token ids."""
WIDTH = 512
"""Columns of wide inputs that are read (evenly spread)."""
CLEAR = 1e-6
"""p-value under which a shift is believed: eight are tried."""
UNRELATED = 0.01
"""p-value above which the rows as they are count as unrelated."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Targets that fit the inputs ``rows`` rows before them (negative: behind them)."""

    rows: int
    skill: float
    p_value: float


def shifted_targets(captured: Captured, facts: Facts) -> Shift | None:
    """The clearest shift under which inputs and targets belong together, where they do not as they
    are; None without one."""
    if len(captured.inputs) < FEWEST or len(captured.inputs) != len(captured.targets):
        return None
    x, y, ask = _question(captured, facts)
    if ask is None or ask(x, y)[0] <= UNRELATED:
        return None
    tried = [(*ask(*_moved(x, y, lag)), lag) for lag in LAGS]
    p_value, skill, lag = min(tried)
    return Shift(rows=lag, skill=skill, p_value=p_value) if p_value < CLEAR else None


Ask = Callable[[Any, Any], tuple[float, float]]


def _question(captured: Captured, facts: Facts) -> tuple[Any, Any, Ask | None]:
    """Inputs, targets, and the model that is asked about them; None where there is none."""
    x, y = captured.inputs[:ROWS], captured.targets[:ROWS]
    if facts.task == "language_model":
        return x, y, _tokens if captured.ids and x.shape == y.shape and x.ndim == 2 else None
    if y.ndim == 1 and facts.task in ("classification", "binary"):
        return _features(x, captured.ids), y.astype(np.int64), _classes
    if facts.task == "regression":
        return _features(x, captured.ids), main_direction(y) if y.ndim > 1 else y, _ridge
    return x, y, None


def _moved(x: Any, y: Any, lag: int) -> tuple[Any, Any]:
    return (x[:-lag], y[lag:]) if lag > 0 else (x[-lag:], y[:lag])


def _features(rows: NDArray[Any], ids: bool) -> Floats:
    flat = rows.reshape(len(rows), -1)
    if ids:
        out = np.zeros((len(flat), BINS))
        places = np.repeat(np.arange(len(flat)), flat.shape[1])
        np.add.at(out, (places, (flat.astype(np.int64) % BINS).reshape(-1)), 1.0)
        return np.log1p(out)
    flat = flat[:, :: max(1, flat.shape[1] // WIDTH)].astype(np.float64)
    flat = np.where(np.isfinite(flat), flat, 0.0)
    spread = flat.std(axis=0)
    scaled = (flat - flat.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.asarray(np.clip(scaled, -5, 5), dtype=np.float64)


def _classes(x: Floats, y: Ints) -> tuple[float, float]:
    """(p-value, skill) of the nearest class mean, in the metric of the pooled variances."""
    half = len(x) // 2
    classes, counts = np.unique(y[:half], return_counts=True)
    classes = classes[counts >= 3]
    if len(classes) < 2:
        return 1.0, 0.0
    means = np.stack([x[:half][y[:half] == c].mean(axis=0) for c in classes])
    within = np.mean([x[:half][y[:half] == c].var(axis=0) for c in classes], axis=0) + 1e-3
    asked, truth = x[half:], y[half:]
    scores = (asked / within) @ means.T - 0.5 * (means**2 / within).sum(axis=1)
    right = classes[scores.argmax(axis=1)] == truth
    prior = float(np.unique(truth, return_counts=True)[1].max() / len(truth))
    accuracy = float(right.mean())
    # Against what its guesses would hit in any order: it need not name the commonest class.
    named = classes[scores.argmax(axis=1)]
    by_luck = sum(float((named == c).mean() * (truth == c).mean()) for c in classes)
    p_value = binomial_tail(right.sum(), len(truth), min(max(by_luck, 1e-6), 1 - 1e-6))
    return p_value, (accuracy - prior) / max(1 - prior, 1e-9)


def _ridge(x: Floats, y: Floats) -> tuple[float, float]:
    """(p-value, R squared) of a ridge regression; the test is of the correlation."""
    half = len(x) // 2
    y = np.asarray(y, dtype=np.float64)
    if not y.std() > 0:
        return 1.0, 0.0
    centred = x[:half] - x[:half].mean(axis=0)
    target = y[:half] - y[:half].mean()
    penalty = 0.1 * max(1.0, float((centred**2).sum()) / centred.shape[1])
    weights = np.linalg.solve(
        centred.T @ centred + penalty * np.eye(centred.shape[1]), centred.T @ target
    )
    found = (x[half:] - x[:half].mean(axis=0)) @ weights
    truth = y[half:]
    if not found.std() > 0 or not truth.std() > 0:
        return 1.0, 0.0
    r = float(np.corrcoef(found, truth)[0, 1])
    z = 0.5 * math.log((1 + min(r, 0.999999)) / (1 - min(r, 0.999999))) if r > 0 else 0.0
    return normal_tail(z * math.sqrt(max(1, len(truth) - 3))), max(r, 0.0) ** 2


def _tokens(x: Ints, y: Ints) -> tuple[float, float]:
    """(p-value, skill in nats) of counts of pairs over the unigram."""
    probe = token_pairs(x, y)
    return (probe.p_value, probe.score) if probe is not None else (1.0, 0.0)
