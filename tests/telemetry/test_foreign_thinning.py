"""Long logs in bounded memory: shares stay fair, no spike and no NaN is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sweeper.telemetry.foreign.thinning import STRETCHES, Thinner
from tests.telemetry.foreign_logs import check, critical, falling, flat, write

Floats = NDArray[np.float64]


def thinned(
    values: Floats, given_: NDArray[np.bool_], most: int, block: int
) -> tuple[Thinner, NDArray[np.int64], Floats]:
    thinner = Thinner(most)
    thinner.tracked = np.arange(1, values.shape[1])
    for low in range(0, len(values), block):
        thinner.add(values[low : low + block], given_[low : low + block])
    numbers, _, kept = thinner.finish()
    return thinner, numbers, kept


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 6000), most=st.integers(64, 512), block=st.integers(1, 700),
    seed=st.integers(0, 99), holes=st.floats(0, 0.02),
)  # fmt: skip
def test_what_must_be_kept_is_kept(n: int, most: int, block: int, seed: int, holes: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.column_stack([np.arange(n, dtype=float), rng.standard_normal(n)])
    values[rng.random(n) < holes, 1] = np.nan
    _, numbers, kept = thinned(values, np.ones((n, 2), dtype=bool), most, block)
    assert (np.diff(numbers) > 0).all()
    np.testing.assert_array_equal(kept, values[numbers])
    assert len(numbers) <= 2 * most + 3 * STRETCHES + 2
    bad = np.flatnonzero(np.isnan(values[:, 1]))
    expected = {0, n - 1, *bad[:1].tolist()}
    if len(bad) < n:
        expected |= {int(np.nanargmax(values[:, 1])), int(np.nanargmin(values[:, 1]))}
    assert expected <= set(numbers.tolist())


def test_short_logs_are_kept_whole() -> None:
    values = np.column_stack([np.arange(500.0), falling(500)])
    thinner, numbers, kept = thinned(values, np.ones((500, 2), dtype=bool), 1000, 64)
    assert thinner.stride == 1
    np.testing.assert_array_equal(kept, values)
    np.testing.assert_array_equal(numbers, np.arange(500))


def test_shares_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    n = 60_000
    loss = 1 + 0.1 * rng.standard_normal(n)
    loss[rng.random(n) < 0.01] = np.nan
    values = np.column_stack([np.arange(float(n)), loss])
    thinner, _, kept = thinned(values, np.ones((n, 2), dtype=bool), 8192, 1000)
    assert thinner.stride > 4
    assert np.isnan(kept[:, 1]).mean() < 0.01 + STRETCHES / 4096
    assert abs(np.nanstd(kept[:, 1]) - 0.1) < 0.02
    assert abs(np.nanmedian(kept[:, 1]) - 1) < 0.01


def test_rare_rows_are_thinned_by_themselves() -> None:
    n = 40_000
    values = np.column_stack([np.arange(float(n)), falling(n), falling(n)])
    present = np.ones((n, 3), dtype=bool)
    present[:, 2] = np.arange(n) % 1000 == 999
    _, numbers, _ = thinned(values, present, 4096, 512)
    rare = np.flatnonzero(np.arange(n) % 1000 == 999)
    assert set(rare.tolist()) <= set(numbers.tolist())


def test_many_sets_of_columns_are_bounded() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((20_000, 10))
    present = rng.random((20_000, 10)) < 0.5
    thinner, numbers, _ = thinned(values, present, 2048, 500)
    assert len(thinner.groups) <= 64
    assert len(numbers) < 20_000


@pytest.mark.parametrize(("at", "symptoms"), [(None, set()), (200_001, {"non_finite"})])
def test_verdict_of_a_long_log(at: int | None, symptoms: set[str], tmp_path: Path) -> None:
    """More rows than are kept."""
    loss = falling(300_000, noise=0.05)
    loss[123_457] = 8.0
    if at is not None:
        loss[at:] = np.nan
    rows = "\n".join(f"{i},{v:.5g}" for i, v in enumerate(loss))
    result = check(write(tmp_path / "a.csv", f"step,loss\n{rows}\n"))
    assert critical(result) == symptoms
    assert result.log["rows"] == 300_000
    assert result.log["points"]["loss"] < 200_000
    spikes = [f for f in result.diagnosis.findings if f.symptom == "loss_spike"]
    assert spikes[0].steps == (123_457, 123_457)
    if at is not None:
        assert result.diagnosis.findings[0].steps[0] == at
    assert any("was kept, with the extremes" in note for note in result.notes)


def test_thinning_makes_no_alarm_of_noise(tmp_path: Path) -> None:
    loss = 0.5 * flat(1.0, 280_000, 0.2)
    loss[:30_000] += falling(30_000, 2.0, 0.01)
    rows = "\n".join(f"{i},{v:.5g}" for i, v in enumerate(loss))
    assert critical(check(write(tmp_path / "a.csv", f"step,loss\n{rows}\n"))) == set()
