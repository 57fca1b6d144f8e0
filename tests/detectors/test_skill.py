"""Skill: which source speaks, and when a run counts as learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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


def test_characters_are_easier_than_words() -> None:
    for width, verdict in ((65, False), (5000, True)):
        prior = (1 / width,) * width
        language = facts(
            task="language_model", class_prior=prior, n_classes=width, head_width=width
        )
        steps = series(loss=flat(0.93 * float(np.log(width))))
        assert learned(record(steps, what=language)) is verdict
