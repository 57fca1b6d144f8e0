"""The probe: simple models on captured batches, with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sweeper.diagnosis._probe import ROWS, Probe, simple_models
from sweeper.telemetry.record import Captured
from tests.detectors.records import facts

Array = np.ndarray[Any, Any]


def blobs(n: int = 600, k: int = 4) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    labels = np.arange(n) % k
    return (3 * rng.standard_normal((k, 8)))[labels] + rng.standard_normal((n, 8)), labels


def rings() -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    labels = np.arange(500) % 2
    angle, radius = rng.uniform(0, 6.3, 500), 1.0 + labels + 0.1 * rng.standard_normal(500)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), labels


def tokens() -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    labels = np.arange(600) % 3
    ids = rng.integers(100, 900, (600, 12))
    ids[np.arange(600), rng.integers(0, 12, 600)] = labels + 5
    return ids, labels


def images() -> tuple[Array, Array]:
    rng = np.random.default_rng(4)
    labels = np.arange(400) % 5
    patterns = rng.random((5, 1, 14, 14))
    return patterns[labels] + 0.5 * rng.standard_normal((400, 1, 14, 14)), labels


def probe(inputs: Array, targets: Array, **changes: Any) -> Probe | None:
    seen = Captured(inputs=inputs, targets=np.asarray(targets, dtype=float), logits_first=None)
    return simple_models(seen, facts(**changes))


@pytest.mark.parametrize("make", [blobs, rings, tokens, images], ids=lambda f: f.__name__)
def test_signal_is_found_and_shuffled_targets_are_not(make: Any) -> None:
    inputs, labels = make()
    found = probe(inputs, labels)
    assert found is not None
    assert found.p_value < 0.01
    assert found.score > 0.2
    shuffled = probe(inputs, np.random.default_rng(9).permutation(labels))
    assert shuffled is not None
    assert shuffled.p_value > 0.02
    assert np.isnan(shuffled.wrong_share) or shuffled.wrong_share > 0.5


def test_regression() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((400, 6))
    y = x[:, 0] + 0.5 * rng.standard_normal(400)
    found, shuffled = (
        probe(x, y, task="regression"),
        probe(x, rng.permutation(y), task="regression"),
    )
    assert found is not None and shuffled is not None
    assert found.p_value < 0.01 < shuffled.p_value
    assert found.score == pytest.approx(0.8, abs=0.1)


def test_unequal_classes_are_judged_by_probability() -> None:
    rng = np.random.default_rng(6)
    labels = (rng.random(800) < 0.06).astype(int)
    x = rng.standard_normal((800, 5)) + 1.2 * labels[:, None]
    found = probe(x, labels, task="binary")
    assert found is not None
    assert found.p_value < 0.01


def test_wrong_labels_are_counted() -> None:
    inputs, labels = blobs()
    rng = np.random.default_rng(7)
    noisy = np.where(rng.random(600) < 0.5, rng.integers(0, 4, 600), labels)
    clean, found = probe(inputs, labels), probe(inputs, noisy)
    assert clean is not None and found is not None
    assert clean.wrong_share < 0.1
    assert found.wrong_share == pytest.approx(0.375, abs=0.1)


def test_repeated_samples_do_not_leak() -> None:
    rng = np.random.default_rng(8)
    x, labels = rng.standard_normal((300, 6)), np.arange(300) % 3
    found = probe(np.tile(x, (4, 1)), np.tile(labels, 4))
    assert found is not None
    assert found.n == 300
    assert found.p_value > 0.02


@pytest.mark.parametrize(
    ("n", "changes"),
    [(60, {}), (600, {"task": "language_model"}), (600, {"task": "unknown"})],
    ids=["few", "language", "unknown"],
)
def test_no_verdict(n: int, changes: dict[str, Any]) -> None:
    inputs, labels = blobs(n)
    assert probe(inputs, labels, **changes) is None


def test_no_verdict_on_one_class_or_sequences() -> None:
    inputs, labels = blobs()
    assert probe(inputs, np.zeros(600)) is None
    assert probe(inputs, np.tile(labels[:, None], (1, 5))) is None


def test_non_finite_rows_are_left_out_and_many_are_cut() -> None:
    inputs, labels = blobs(ROWS + 500)
    inputs[:10, 0] = np.nan
    found = probe(inputs, labels)
    assert found is not None
    assert found.n == ROWS


def test_language_models_are_compared_with_counts_of_pairs() -> None:
    rng = np.random.default_rng(10)
    x = rng.integers(0, 20, (200, 16))
    follows = np.where(rng.random(x.shape) < 0.7, (x + 1) % 20, rng.integers(0, 20, x.shape))
    found, shuffled = (
        probe(x, follows, task="language_model"),
        probe(x, rng.permuted(follows), task="language_model"),
    )
    assert found is not None and shuffled is not None
    assert found.score > 0.3 > 0.02 > shuffled.score
    assert found.p_value < 0.01 < shuffled.p_value


def test_contrastive_targets_are_no_labels() -> None:
    inputs, _ = blobs()
    assert probe(inputs, np.arange(600) % 50) is None
