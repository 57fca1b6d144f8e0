"""The study as the dashboard gets it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from sweeper.search.exported import exported
from sweeper.types import Outcome
from tests.report.builders import trial


def test_names_are_those_of_the_report(tmp_path: Path) -> None:
    study = exported(
        [
            trial(tmp_path, {}, phase="baseline"),
            trial(tmp_path, {"learning_rate": 1e-4, "zero_grad": True}, metric=0.9, restored=True),
            trial(tmp_path, {"clip_norm": {"max_norm": 1.0, "norm_type": "inf"}}, seed=1001),
        ],
        "train",
    )
    first, second, third = study.get_trials()
    assert study.study_name == "train"
    used = {"learning rate used", "zero grad used", "clip norm used"}
    assert {k for k, v in second.params.items() if v is True} == {
        "learning rate used", "zero grad used"
    }  # fmt: skip
    assert set(first.params) == used
    assert second.params["learning rate"] == 1e-4
    assert third.params["clip norm: max norm"] == 1.0
    assert third.params["clip norm: norm type"] == "inf"
    assert second.user_attrs["fix"] == "learning_rate=0.0001, zero_grad=True"
    assert second.user_attrs["restored"]
    assert second.user_attrs["accuracy"] == 0.9
    assert third.user_attrs["run"] == f"runs/{third.user_attrs['run'][5:]}"
    assert third.user_attrs["seed"] == 1001
    assert study.best_trial.number == 1


def test_ranges_are_those_of_the_values_seen(tmp_path: Path) -> None:
    fixes = (
        {"learning_rate": 1e-4, "batch_size": 16, "weight_decay": 0.0, "init": "xavier"},
        {"learning_rate": 0.1, "batch_size": 32, "weight_decay": 0.1, "init": 3},
    )
    study = exported([trial(tmp_path, dict(fix)) for fix in fixes], "x")
    known = study.get_trials()[0].distributions
    assert known["learning rate"] == FloatDistribution(1e-4, 0.1, log=True)
    assert known["batch size"] == IntDistribution(16, 32)
    assert known["weight decay"] == FloatDistribution(0.0, 0.1)
    assert isinstance(known["init"], CategoricalDistribution)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "a"])
def test_values_of_every_kind(tmp_path: Path, value: float) -> None:
    fixes = [{"learning_rate": 0.1}, {"learning_rate": value}]
    study = exported([trial(tmp_path, dict(fix)) for fix in fixes], "x")
    assert len(study.get_trials()) == 2


def test_what_could_not_be_judged_failed(tmp_path: Path) -> None:
    broken = trial(
        tmp_path, {"learning_rate": 9.0}, judgement=None,
        outcome=Outcome(status="out_of_memory", seconds=2.0, error="killed"),
    )  # fmt: skip
    (found,) = exported([broken], "x").get_trials()
    assert found.state is TrialState.FAIL
    assert found.user_attrs["ended"] == "out_of_memory"
    assert found.duration is not None
    assert found.duration.total_seconds() == 2.0
