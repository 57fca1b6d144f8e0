"""Simple models of scikit-learn, cross-validated on the captured inputs and targets: is there any
signal?

Seconds matter: at most 1,500 samples, three folds, two models. Token ids become bags of hashed ids,
images and wide tables are reduced by principal components for the linear model. For language models
the simple model counts pairs of neighbouring tokens.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.detectors._stats import normal_tail
from sweeper.diagnosis._outliers import outlying

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.telemetry.record import Captured
    from sweeper.types import Facts

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

ROWS = 1500
FOLDS = 3
WIDTH = 800
"""Columns of wide inputs that are read (evenly spread)."""
FEWEST = 100
"""Samples under which no verdict is given."""
BINS = 2048
"""Hashed columns of a bag of token ids."""
PERMUTATIONS = 499
ALPHA, CERTAIN = 0.02, 0.004
"""Level of the permutation test for a score above LEAST, and for one that is no better than the
constant answer (two of 500, the smallest there is)."""
LEAST = 0.01
PRIOR_COUNT = 5.0
"""Pseudo-observations of the unigram in each context of the pair counts."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What simple models made of the captured samples, out of fold."""

    n: int
    p_value: float
    """Permutation test of the out-of-fold score, the better model, doubled for having two."""
    score: float
    """Share of the way from the constant answer to a perfect one (accuracy, R squared, or nats for
    tokens)."""
    accuracy: float
    """Out-of-fold accuracy of the better model; NaN for regression."""
    prior: float
    wrong_share: float
    """Share of labels that the confident joint calls wrong; NaN for regression or without
    signal."""
    balanced: float = math.nan
    """Share of the way from guessing to perfect that the mean recall of the classes goes; NaN for
    others than classes."""
    partial: bool = False
    """Of several outputs only the direction in which they vary most was predicted."""

    @property
    def signal(self) -> bool:
        """The inputs say something about the targets: significant, and skilful or beyond doubt."""
        return self.p_value <= (ALPHA if self.score > LEAST else CERTAIN)


def simple_models(captured: Captured, facts: Facts) -> Probe | None:
    """Probe the captured samples; None when they are too few or no simple model applies to them."""
    if facts.task == "language_model":
        return _pairs(captured)
    if facts.task not in ("classification", "binary", "regression"):
        return None
    targets, partial = captured.targets, False
    if targets.ndim > 1 and facts.task == "regression":
        targets, partial = main_direction(targets), True
    if targets.ndim != 1 or _positions(targets):
        return None
    x, y = _unique(captured.inputs, np.asarray(targets, dtype=np.float64))
    if len(x) < FEWEST:
        return None
    features = _features(x, captured.ids)
    import sklearn.ensemble
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # One thread: small matrices on the threads of a busy machine take a hundred times longer. The
    # limit reaches only libraries that are loaded already, hence the imports.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence does not matter here
        if facts.task == "regression":
            found = _regression(features, y)
            return found and replace(found, partial=partial)
        return _classification(features, y.astype(np.int64), captured.ids)


def main_direction(targets: NDArray[Any]) -> Floats:
    """Several outputs [N, ...] as one number each: along the direction in which they vary most."""
    flat = targets.reshape(len(targets), -1).astype(np.float64)
    flat = flat[:, :: max(1, flat.shape[1] // 256)]
    flat = np.where(np.isfinite(flat), flat, 0.0)
    centred = flat - flat.mean(axis=0)
    vectors = np.linalg.eigh(centred.T @ centred)[1]
    return np.asarray(centred @ vectors[:, -1], dtype=np.float64)


def _pairs(captured: Captured) -> Probe | None:
    """Next tokens by counts of pairs, smoothed with the unigram: what half of the rows teaches
    about the other."""
    x, y = captured.inputs, captured.targets
    return token_pairs(x, y) if captured.ids and x.ndim == 2 and x.shape == y.shape else None


def token_pairs(x: NDArray[Any], y: NDArray[Any]) -> Probe | None:
    """`_pairs` of token ids ``x`` and the tokens ``y`` that follow, both [N, T]."""
    if len(x) < 32 or y.min() < 0:
        return None
    x, y = x.astype(np.int64), y.astype(np.int64)
    half, width = len(x) // 2, int(max(x.max(), y.max())) + 1
    seen, following = x[:half].reshape(-1), y[:half].reshape(-1)
    unigram = (np.bincount(following, minlength=width) + 0.5) / (len(following) + 0.5 * width)
    contexts = np.bincount(seen, minlength=width)
    keys, counts = np.unique(seen * width + following, return_counts=True)
    asked, truth = x[half:].reshape(-1), y[half:].reshape(-1)
    place = np.minimum(np.searchsorted(keys, asked * width + truth), len(keys) - 1)
    found = np.where(keys[place] == asked * width + truth, counts[place], 0)
    pairs = (found + PRIOR_COUNT * unigram[truth]) / (contexts[asked] + PRIOR_COUNT)
    entropy = float(-np.log(unigram[truth]).mean())
    gain = np.log(pairs) - np.log(unigram[truth])
    z = float(gain.mean() / max(gain.std(), 1e-12) * np.sqrt(len(gain)))
    return Probe(
        n=len(x),
        p_value=normal_tail(z),
        score=float(gain.mean()) / entropy,
        accuracy=math.nan,
        prior=math.nan,
        wrong_share=math.nan,
    )


def _positions(targets: NDArray[Any]) -> bool:
    """Targets that count rows, as contrastive losses use them: they belong to the batch, not to the
    input."""
    some = targets[:2048]
    turns = int(np.count_nonzero(np.diff(some) != 1))
    return len(some) >= 8 and 8 * turns < len(some) and bool((some[:8] == np.arange(8)).all())


def _unique(inputs: NDArray[Any], targets: Floats) -> tuple[NDArray[Any], Floats]:
    """Finite rows, each once (later epochs repeat them, which would leak over folds), at most ROWS
    of them."""
    rows = inputs.reshape(len(inputs), -1)
    keys = np.array([hash(row.tobytes()) for row in np.ascontiguousarray(rows)])
    first = np.sort(np.unique(keys, return_index=True)[1])
    rows, targets = rows[first], targets[first]
    good = np.isfinite(targets)
    if np.issubdtype(rows.dtype, np.floating):
        good &= np.isfinite(rows).all(axis=1)
        # What a few absurd inputs do to simple models says nothing about the labels.
        some = rows[good][:, :: max(1, rows.shape[1] // WIDTH)].astype(np.float64)
        good[good] = ~outlying(some)
    keep = np.flatnonzero(good)
    if len(keep) > ROWS:
        keep = np.random.default_rng(0).choice(keep, ROWS, replace=False)
    return rows[keep], targets[keep]


def _features(rows: NDArray[Any], ids: bool) -> Any:
    if ids:
        from scipy.sparse import csr_matrix

        n, length = rows.shape
        columns = (rows.astype(np.int64) % BINS).reshape(-1)
        places = (np.repeat(np.arange(n), length), columns)
        return csr_matrix((np.ones(len(columns)), places), shape=(n, BINS))
    rows = rows[:, :: max(1, rows.shape[1] // WIDTH)].astype(np.float64)
    spread = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    # Outliers must not decide for a linear model.
    return np.clip(rows, -10, 10)


def _components(features: Any) -> Any:
    if features.shape[1] <= 64:
        return features
    from sklearn.decomposition import PCA

    return PCA(min(50, len(features) - 1), svd_solver="randomized", random_state=0).fit_transform(
        features
    )


def _classification(features: Any, labels: Ints, ids: bool) -> Probe | None:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.naive_bayes import MultinomialNB

    classes, counts = np.unique(labels, return_counts=True)
    keep = np.isin(labels, classes[counts >= 2 * FOLDS])
    if keep.sum() < FEWEST or (counts >= 2 * FOLDS).sum() < 2:
        return None
    features, labels = features[keep], np.unique(labels[keep], return_inverse=True)[1]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    linear = LogisticRegression(C=0.1 if not ids else 1.0, max_iter=40)
    second = (
        MultinomialNB() if ids else ExtraTreesClassifier(80, min_samples_leaf=3, random_state=0)
    )
    tried = [(linear, features if ids else _components(features)), (second, features)]
    best: tuple[float, Floats] | None = None
    for model, data in tried:
        found = cross_val_predict(model, data, labels, cv=folds, method="predict_proba")
        p_value = _permuted(np.log(np.clip(found, 1e-6, 1.0)), labels)
        if best is None or p_value < best[0]:
            best = (p_value, found)
    assert best is not None
    p_value, found = min(1.0, 2 * best[0]), best[1]
    prior = float(np.bincount(labels).max() / len(labels))
    named = found.argmax(axis=1)
    accuracy, classes_left = float((named == labels).mean()), len(found[0])
    recall = float(np.mean([(named[labels == c] == c).mean() for c in range(classes_left)]))
    return Probe(
        n=len(labels),
        p_value=p_value,
        score=(accuracy - prior) / (1 - prior),
        accuracy=accuracy,
        prior=prior,
        wrong_share=wrong_labels(labels, found) if p_value <= 0.05 else math.nan,
        balanced=(recall - 1 / classes_left) / (1 - 1 / classes_left),
    )


def _permuted(scores: Floats, labels: Ints) -> float:
    """P-value of the mean score [N, K] of the true labels under permutations of the labels."""
    rng = np.random.default_rng(0)
    rows = np.arange(len(labels))
    real = scores[rows, labels].mean()
    beaten = sum(scores[rows, rng.permutation(labels)].mean() >= real for _ in range(PERMUTATIONS))
    return float((1 + beaten) / (1 + PERMUTATIONS))


def _regression(features: Any, y: Floats) -> Probe | None:
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict

    if not y.std() > 0:
        return None
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    rng = np.random.default_rng(0)
    p_value, score = 1.0, -np.inf
    models = (
        (RidgeCV(np.logspace(-1, 4, 6)), _components(features)),
        (ExtraTreesRegressor(60, min_samples_leaf=3, random_state=0), features),
    )
    for model, data in models:
        found = cross_val_predict(model, data, y, cv=folds)
        real = np.mean((found - y) ** 2)
        beaten = sum(
            np.mean((found - rng.permutation(y)) ** 2) <= real for _ in range(PERMUTATIONS)
        )
        p_value = min(p_value, (1 + beaten) / (1 + PERMUTATIONS))
        score = max(score, 1 - float(real) / float(y.var()))
    nan = math.nan
    return Probe(
        n=len(y),
        p_value=float(min(1.0, 2 * p_value)),
        score=score,
        accuracy=nan,
        prior=nan,
        wrong_share=nan,
    )


def wrong_labels(labels: Ints, probabilities: Floats) -> float:
    """Share of wrong labels by cleanlab's confident joint (Northcutt et al. 2021) over
    out-of-sample ``probabilities`` [N, K]."""
    from cleanlab.count import compute_confident_joint

    joint = np.asarray(
        compute_confident_joint(labels, probabilities, calibrate=True), dtype=np.float64
    )
    return float(1 - np.trace(joint) / joint.sum())
