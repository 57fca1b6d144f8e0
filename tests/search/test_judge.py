"""Restored or not, and always a finite score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from sweeper.search.judge import NO_MEASURE, against_best, gradient_health, judge
from sweeper.types import (
    Diagnosis,
    Facts,
    Finding,
    Fix,
    LayerSeries,
    Outcome,
    RunRecord,
    Symptom,
)

T = 300
QUIET = Diagnosis(findings=(), hypotheses=())


def layers(ratio: float = 1e-3, decades: float = 0.0, n: int = 4) -> LayerSeries:
    steps = np.arange(0, T, 10, dtype=float)
    profile = 10 ** np.linspace(-decades, 0, n)
    shape = (len(steps), n)
    return LayerSeries(
        names=tuple("abcd"[:n]),
        sizes=(100,) * n,
        step=steps,
        grad_norm=np.broadcast_to(profile, shape).copy(),
        weight_norm=np.ones(shape),
        update_norm=np.full(shape, ratio) * profile,
        first_update_sum=np.zeros(len(steps)),
        adam_below_eps=np.full(shape, np.nan),
    )


def record(
    accuracy: float = 0.9,
    *,
    series: LayerSeries | None = None,
    nan_from: int | None = None,
    status: str = "finished",
    more: Mapping[str, float] | None = None,
) -> RunRecord:
    loss = np.linspace(2.3, 0.3, T)
    if nan_from is not None:
        loss[nan_from:] = math.nan
    facts = Facts(
        task="classification",
        loss_function="cross_entropy",
        n_classes=10,
        head_width=10,
        class_prior=(0.1,) * 10,
        steps=T,
    )
    steps = {
        "step": np.arange(T, dtype=float),
        "loss": loss,
        "task_loss": loss,
        "n": np.full(T, 32.0),
        "accuracy": np.full(T, accuracy),
        "fresh_n": np.full(T, 32.0),
        "fresh_correct": np.full(T, 32.0 * accuracy),
        "fresh_loss": loss,
    }
    return RunRecord(
        folder=None,
        fix=Fix(),
        seed=0,
        max_steps=T,
        outcome=Outcome(status=status, steps=T),  # type: ignore[arg-type]
        facts=facts,
        steps=steps,
        layers=series,
        activations=None,
        evals=None,
    )


def finding(symptom: Symptom, severity: float, steps: tuple[int, int]) -> Diagnosis:
    found = Finding(symptom=symptom, severity=severity, reason="planted", steps=steps)
    return Diagnosis(findings=(found,), hypotheses=())


def test_a_learning_run_is_restored() -> None:
    result = judge(record(series=layers()), QUIET, best_skill=0.9)
    assert result.restored and result.reasons == ()
    assert result.metric == pytest.approx(0.9)
    assert result.skill == result.score == pytest.approx((0.9 - 0.1) / 0.9)
    assert all(v <= 0 for v in result.violations.values())


def test_chance_is_not() -> None:
    result = judge(record(0.1), QUIET)
    assert not result.restored
    assert result.violations["learning"] > 0
    assert "not learning" in result.reasons[0]


@pytest.mark.parametrize(("found", "restored"), [(0.9, True), (0.35, False)])
def test_rare_classes_must_be_told_apart_clearly(found: float, restored: bool) -> None:
    """A tenth of the samples are rare, and a tenth of the others is taken for them: the skill of
    the second run, 0.25, is what weights drawn at random may have."""
    made = record(0.1 * found + 0.9 * 0.9)
    rare = {"rare_n": np.full(T, 3.2), "rare_correct": np.full(T, 3.2 * found)}
    unequal = replace(made.facts, n_classes=2, head_width=2, class_prior=(0.9, 0.1))
    result = judge(replace(made, facts=unequal, steps={**made.steps, **rare}), QUIET)
    assert result.metric_name == "balanced_accuracy"
    assert result.skill == pytest.approx(found - 0.1)
    assert result.restored is restored


def test_a_finding_counts_only_while_it_holds() -> None:
    early = judge(record(), finding(Symptom.LOSS_SPIKE, 0.9, (0, 150)))
    assert early.restored
    late = judge(record(), finding(Symptom.LOSS_SPIKE, 0.9, (0, 299)))
    assert not late.restored and late.violations["quiet"] == 0.9
    mild = judge(record(), finding(Symptom.LOSS_SPIKE, 0.4, (0, 299)))
    assert mild.restored
    ill = judge(record(), finding(Symptom.VANISHING_GRADIENT, 0.7, (0, 299)))
    assert ill.violations["gradients"] == 0.7 and ill.violations["quiet"] < 0


def test_ill_gradients_are_graded() -> None:
    hot = judge(record(series=layers(ratio=1.0)), QUIET)
    hotter = judge(record(series=layers(ratio=10.0)), QUIET)
    assert not hot.restored and "updates too large" in hot.reasons[0]
    assert 0 < hot.violations["gradients"] < hotter.violations["gradients"]
    steep = judge(record(series=layers(ratio=1e-4, decades=5.0)), QUIET)
    assert not steep.restored and "+5.0 decades" in steep.reasons[0]
    assert judge(record(series=layers(ratio=1e-2, decades=4.0)), QUIET).restored


def test_gradient_health_without_layers_is_unknown() -> None:
    assert math.isnan(gradient_health(record()).decades)
    health = gradient_health(record(series=layers(decades=2.0)))
    assert health.decades == pytest.approx(2.0)


@pytest.mark.parametrize("status", ["finished", "hopeless", "budget"])
def test_diverged_runs_score_below_minus_one_and_survivors_higher(status: str) -> None:
    early = judge(record(nan_from=10, status=status), QUIET)
    late = judge(record(nan_from=250, status=status), QUIET)
    for result in (early, late):
        assert not result.restored
        assert math.isfinite(result.score) and result.score < NO_MEASURE
        assert math.isnan(result.skill)
        assert result.violations["finite"] > 0
    assert early.score < late.score
    assert early.violations["finite"] > late.violations["finite"]


def test_an_empty_record_has_a_finite_score() -> None:
    empty = RunRecord(
        folder=None,
        fix=Fix(),
        seed=0,
        max_steps=10,
        outcome=Outcome(status="hopeless"),
        facts=Facts(),
        steps={},
        layers=None,
        activations=None,
        evals=None,
    )
    result = judge(empty, QUIET, best_skill=0.5)
    assert result.score == pytest.approx(-2.0) and not result.restored


def test_the_best_of_the_study_is_held_against_a_run() -> None:
    alone = judge(record(0.5), QUIET)
    assert alone.restored
    behind = against_best(alone, 0.9)
    assert not behind.restored and "behind the best" in behind.reasons[0]
    assert against_best(behind, 0.45).restored
    assert against_best(alone, None) == alone
