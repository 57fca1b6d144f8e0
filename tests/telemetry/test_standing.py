"""How a run stands at its rungs."""

from __future__ import annotations

import math

import pytest

from sweeper.telemetry.standing import Standings

ANY = -math.inf


def block(first: int, n: int, accuracy: float, loss: float = 1.0) -> tuple[list[int], dict]:
    columns = {"accuracy": [accuracy] * n, "task_loss": [loss] * n, "n": [32.0] * n}
    return list(range(first, first + n)), columns


def test_the_last_quarter_before_a_rung_counts() -> None:
    made = Standings([(100, ANY), (300, ANY)], "accuracy")
    for first, n, accuracy in ((0, 75, 0.1), (75, 25, 0.5), (100, 100, 0.2), (200, 120, 0.8)):
        assert made.add(*block(first, n, accuracy))
    assert made.found == pytest.approx([0.5, 0.8])


def test_a_run_ends_at_the_rung_at_which_it_stands_too_low() -> None:
    made = Standings([(100, 0.2), (300, 0.6)], "accuracy")
    assert made.add(*block(0, 250, 0.5))
    assert not made.add(*block(250, 100, 0.5))
    assert made.found == [0.5, 0.5]


def test_one_block_may_reach_several_rungs() -> None:
    made = Standings([(10, ANY), (20, ANY), (400, ANY)], "task_loss")
    assert made.add(*block(0, 100, 0.5, loss=2.0))
    assert made.found == [-2.0, -2.0]


def test_a_loss_that_is_not_finite_stands_lowest_and_nothing_measured_is_unknown() -> None:
    lost = Standings([(10, -5.0)], "task_loss")
    assert not lost.add(*block(0, 20, 0.5, loss=math.nan))
    assert lost.found == [-math.inf]
    silent = Standings([(10, 0.9)], "accuracy")
    assert silent.add(list(range(20)), {"loss": [1.0] * 20})
    assert math.isnan(silent.found[0])
