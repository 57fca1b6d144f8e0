"""Skill: which source speaks, and when a run counts as learning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sweeper.detectors import all_detectors
from sweeper.detectors.skill import (
    first_pass,
    ill,
    is_chance,
    learned,
    memorised,
    prior_entropy,
    skill_of,
    skills_of,
)
from sweeper.types import Finding, RunRecord
from tests.detectors.records import (
    LN10,
    PASS,
    STEPS,
    chance,
    evals,
    facts,
    flat,
    record,
    series,
    sound_loss,
)

Floats = NDArray[np.float64]

UNEQUAL = facts(n_classes=2, head_width=2, class_prior=(0.95, 0.05))
H_UNEQUAL = prior_entropy(UNEQUAL)


def stairs(length: int = 30, passes: int = 10) -> Floats:
    """Grows between passes and stands still inside them."""
    rng = np.random.default_rng(3)
    level = np.repeat(np.linspace(0.1, 0.8, passes), length)
    return np.clip(level + 0.04 * rng.standard_normal(length * passes), 0, 1)


def test_evaluation_speaks_before_training() -> None:
    found = skill_of(record(evaluated=evals(accuracy=0.46)))
    assert (found.where, found.name) == ("eval", "accuracy")
    assert found.value == pytest.approx(0.4)
    assert found.p_value < 1e-6
    assert found.prior == pytest.approx(0.1)


def test_an_evaluation_on_training_samples_is_none() -> None:
    assert skill_of(record(evaluated=evals(accuracy=0.99, fresh_share=0.0))).where == "train"


def test_fresh_samples_speak_when_the_data_do_not_repeat() -> None:
    assert skill_of(record(series(n_pass=STEPS))).where == "fresh"
    assert skill_of(record(series(n_pass=PASS))).where == "train"


def test_a_small_evaluation_can_say_yes_but_not_no() -> None:
    weak = evals(accuracy=0.13, n=100)
    assert learned(record(evaluated=weak)) is True
    assert learned(record(chance(), evaluated=weak)) is False


def test_a_small_evaluation_says_no_when_it_excludes_learning() -> None:
    """Training batches grow by heart; 100 held-out samples leave no room for the least skill."""
    by_heart = series(accuracy=0.45, loss=flat(0.7 * LN10))
    assert learned(record(by_heart, evaluated=evals(accuracy=0.10, n=100))) is False
    assert learned(record(by_heart, evaluated=evals(accuracy=0.15, n=100))) is True
    assert learned(record(by_heart, evaluated=evals(accuracy=0.02, n=40))) is True  # too few


def test_regression_and_language_models_use_their_own_measure() -> None:
    regression = facts(
        task="regression",
        loss_function="mse_loss",
        class_prior=(),
        n_classes=0,
        target_variance=2.0,
        target_mean=0.0,
    )
    steps = series(accuracy=np.nan)
    steps["r2_error"] = steps["n"] * 0.5
    found = skill_of(record(steps, what=regression))
    assert found.name == "r2"
    assert found.value == pytest.approx(0.75)
    language = facts(
        task="language_model", class_prior=(0.5, 0.25, 0.25), n_classes=3, head_width=3
    )
    entropy = 1.5 * float(np.log(2))
    found = skill_of(record(series(loss=flat(0.9 * entropy)), what=language))
    assert found.name == "loss"
    assert found.value == pytest.approx(0.1, abs=0.01)


def test_mean_squared_error_speaks_when_shapes_differ() -> None:
    regression = facts(
        task="regression", loss_function="mse_loss", class_prior=(), target_variance=1.0
    )
    found = skill_of(record(series(loss=flat(1.0), accuracy=np.nan), what=regression))
    assert is_chance(found)


def test_imbalanced_classes_show_learning_in_the_loss() -> None:
    steps = series(loss=flat(0.5 * H_UNEQUAL), accuracy=0.95, majority=0.97)
    assert learned(record(steps, what=UNEQUAL)) is True


def test_naming_one_class_is_not_learning() -> None:
    steps = series(loss=flat(0.85 * H_UNEQUAL), accuracy=0.95, majority=1.0)
    assert learned(record(steps, what=UNEQUAL)) is False


def test_one_class_with_a_small_loss_has_learned_only_on_held_out_samples() -> None:
    """Losses of repeated samples do not show how well others are ranked."""
    steps = series(loss=flat(0.5 * H_UNEQUAL), accuracy=0.95, majority=1.0)
    assert learned(record(steps, what=UNEQUAL)) is False
    for share, verdict in ((0.5, True), (0.85, False)):
        ranks = evals(accuracy=0.95, prior=0.95, loss=(share * H_UNEQUAL,))
        assert learned(record(steps, what=UNEQUAL, evaluated=ranks)) is verdict


def test_every_run_that_did_not_learn_has_a_critical_finding() -> None:
    """Whatever the loss says: worse than the constant answer, one class, lucky, too little."""
    equal = facts(n_classes=2, head_width=2, class_prior=(0.6, 0.4))
    ln = prior_entropy(equal)
    made = [
        record(series(loss=flat(0.94 * ln), accuracy=0.38), what=equal),
        record(series(loss=flat(0.82 * H_UNEQUAL), accuracy=0.95, majority=1.0), what=UNEQUAL),
        record(series(loss=flat(0.995 * LN10), accuracy=0.21)),
        record(series(loss=flat(0.95 * LN10), accuracy=0.17)),
    ]
    for case in made:
        assert learned(case) is False
        found = all_detectors()["chance_level"].run(case)
        assert isinstance(found, Finding)
        assert found.critical
    steps = series(40, loss=flat(LN10, 40), accuracy=flat(0.1, 40))
    few = record(steps | {"n": np.full(40, 3.0), "fresh_n": np.zeros(40)})
    assert learned(few) is None


REGRESSION = facts(
    task="regression",
    loss_function="mse_loss",
    class_prior=(),
    n_classes=0,
    head_width=1,
    target_variance=0.65,
    target_mean=5.6,
)


def test_dropout_in_training_may_say_yes_but_not_no() -> None:
    def made(share: float, **what: Any) -> RunRecord:
        loss = 1.0 / np.linspace(0.03, 1.0, STEPS) * share * 0.65
        steps = series(loss=loss, accuracy=np.nan)
        steps["r2_error"] = steps["n"] * share * 0.65
        return record(steps, what=replace(REGRESSION, **what))

    assert learned(made(0.95)) is False
    assert learned(made(0.95, dropout=(0.1,))) is None
    assert not ill(made(0.95, dropout=(0.1,)))
    assert learned(made(0.5, dropout=(0.1,))) is True
    # Classes at chance are at chance with dropout too.
    dropped = facts(dropout=(0.9,))
    assert learned(record(chance(), what=dropped)) is False


def test_right_answers_decide_for_a_regression_on_classes() -> None:
    steps = series(accuracy=np.nan)
    steps["r2_error"] = steps["n"] * 0.5
    what = replace(REGRESSION, target_variance=1.0, target_mean=0.0)
    assert learned(record(steps, what=what)) is True
    counted = record(steps, what=what, evaluated=evals(accuracy=0.12, prior=0.1))
    assert learned(counted) is False
    assert skill_of(counted).name == "accuracy"


def test_untrained_luck_is_not_learning() -> None:
    steps = series(loss=flat(1.2 * LN10), accuracy=0.22)
    assert learned(record(steps)) is False


def test_memory_is_told_from_learning() -> None:
    accuracy = stairs()
    loss = LN10 * (1.1 - accuracy)
    steps = series(len(accuracy), n_pass=30, loss=loss, accuracy=accuracy)
    assert first_pass(record(steps)) == 30
    assert memorised(record(steps))
    assert skill_of(record(steps)).where == "fresh"
    assert learned(record(steps)) is False
    slow = np.clip(
        np.linspace(0.08, 0.9, STEPS) + 0.02 * np.random.default_rng(0).standard_normal(STEPS), 0, 1
    )
    slow[:30] = 0.1
    assert not memorised(record(series(n_pass=30, loss=LN10 * (1.1 - slow), accuracy=slow)))


def test_a_fall_between_the_first_two_passes_is_no_memory() -> None:
    """The mean of the targets is learned in the first pass, the rest inside later ones."""
    rng = np.random.default_rng(4)
    length, passes = 60, 6
    inside = np.tile(np.linspace(0.6, -0.6, length), passes)
    level = np.repeat([5.0, 1.0, 0.93, 0.9, 0.8, 0.78], length) + 0.1 * inside
    level[:length] = np.linspace(8.0, 1.7, length)
    error = np.abs(level * (1 + 0.02 * rng.standard_normal(length * passes)))
    steps = series(length * passes, n_pass=length, loss=error, accuracy=np.nan)
    steps["r2_error"] = steps["n"] * error
    assert not memorised(record(steps, what=replace(REGRESSION, target_variance=1.0)))


def test_single_late_fresh_rows_do_not_end_the_pass() -> None:
    steps = series()
    steps["fresh_n"][280] = 1.0
    assert first_pass(record(steps)) == PASS


def test_ill_without_any_measure() -> None:
    unknown = facts(task="unknown", class_prior=(), loss_function="")
    assert not ill(record(series(accuracy=np.nan), what=unknown))
    assert ill(record(series(loss=flat(1.0), accuracy=np.nan), what=unknown))
    assert ill(record(series(loss=np.where(np.arange(STEPS) < 200, sound_loss(), np.nan))))


@pytest.mark.parametrize(
    "changes", [{"class_prior": ()}, {"task": "regression"}, {"class_prior": (0.5, 0.1)}], ids=str
)
def test_no_prior_no_entropy(changes: dict[str, Any]) -> None:
    assert np.isnan(prior_entropy(facts(**changes)))


def test_negative_losses_are_not_costs() -> None:
    assert [s.name for s in skills_of(record(series(loss=flat(-5.0))))] == ["accuracy"]


def test_weighted_losses_of_unequal_classes_say_nothing() -> None:
    """Under a weight on the rare class accuracy falls below the majority rate, and the loss above
    its entropy."""
    fell = series(loss=sound_loss(start=1.2, end=0.4), accuracy=0.90)
    assert learned(record(fell, what=UNEQUAL)) is None
    assert not ill(record(fell, what=UNEQUAL))


def weighted(found: float, false: float, n: int = STEPS) -> RunRecord:
    """Batches of 40 with two rare samples: ``found`` of them are named, ``false`` of the others."""
    rows = series(
        n, loss=flat(1.2, n), accuracy=0.05 * found + 0.95 * (1 - false), majority=0.8,
        rare_n=flat(2.0, n, 0.0), rare_correct=flat(2.0 * found, n, 0.0),
    )  # fmt: skip
    return record(rows | {"n": flat(40.0, n, 0.0)}, what=UNEQUAL)


def test_very_unequal_classes_are_judged_by_the_recall_of_both() -> None:
    found = skill_of(weighted(found=0.8, false=0.2))
    assert (found.name, found.where) == ("balanced_accuracy", "train")
    assert found.metric == pytest.approx(0.8)
    assert found.value == pytest.approx(0.6)
    assert found.significant
    equal = facts(n_classes=2, head_width=2, class_prior=(0.6, 0.4))
    assert skill_of(replace(weighted(found=0.8, false=0.2), facts=equal)).name == "accuracy"


def test_recall_on_few_rare_samples_is_not_told() -> None:
    assert skill_of(weighted(0.8, 0.2, n=12)).name == "accuracy"


def test_the_constant_answers_have_no_balanced_skill() -> None:
    for answer in (0.0, 1.0):
        found = skill_of(weighted(found=answer, false=answer))
        assert found.value == pytest.approx(0.0)
        assert not found.significant


def test_a_weighted_run_has_learned_when_it_tells_the_classes_apart() -> None:
    assert learned(weighted(found=0.8, false=0.2)) is True
    assert learned(weighted(found=0.5, false=0.5)) is False
    assert learned(weighted(found=0.55, false=0.4)) is None  # a little, as random weights may
    chance_level = all_detectors()["chance_level"].run(weighted(found=0.5, false=0.5))
    assert isinstance(chance_level, Finding)
    assert "balanced accuracy 0.5 on training batches" in chance_level.reason


def test_an_evaluation_tells_the_recall_of_both_too() -> None:
    phases = evals(accuracy=0.9, prior=0.95, rare=(50, 40))
    found = skill_of(record(series(), what=UNEQUAL, evaluated=phases))
    assert (found.name, found.where) == ("balanced_accuracy", "eval")
    assert found.metric == pytest.approx((0.8 + 860 / 950) / 2)


def test_naming_rare_classes_too_is_not_judged_by_accuracy() -> None:
    """A weighted loss costs some accuracy; it need not take it below the majority rate."""
    steps = series(loss=flat(0.9 * H_UNEQUAL, noise=1.0), accuracy=0.953, majority=0.95)
    assert learned(record(steps, what=UNEQUAL)) is not False


def test_characters_are_easier_than_words() -> None:
    for width, verdict in ((65, False), (5000, True)):
        prior = (1 / width,) * width
        language = facts(
            task="language_model", class_prior=prior, n_classes=width, head_width=width
        )
        steps = series(loss=flat(0.93 * float(np.log(width))))
        assert learned(record(steps, what=language)) is verdict
