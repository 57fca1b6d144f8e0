"""Each detector: a record just over its limit, one just under it, and a sound run with the same
sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from sweeper.detectors import all_detectors, detect_all
from sweeper.detectors._base import Insufficient
from sweeper.types import Finding, RunRecord, Symptom, UsageError
from tests.detectors.records import (
    LN10,
    STEPS,
    activations,
    chance,
    evals,
    facts,
    flat,
    layer,
    layers,
    optimizer,
    record,
    series,
    set_at,
    sound_loss,
)


def learned_ill(**parts: Any) -> tuple[RunRecord, RunRecord]:
    """The same parts in a run at chance and in a run that learns."""
    return record(chance(), **parts), record(series(), **parts)


def spiked(height: float) -> RunRecord:
    loss = set_at(sound_loss(), 250, height)
    return record(series(loss=loss))


def rising(end: float) -> RunRecord:
    """Down to 1.2, up to ``end`` by step 200, and on a little."""
    ways = [(LN10, 1.2, 100), (1.2, end, 100), (end, 1.05 * end, 100)]
    loss = np.concatenate([np.linspace(*way) for way in ways])
    return record(series(loss=loss, accuracy=0.1))


def swinging(width: float) -> RunRecord:
    loss = np.asarray(3.0 + width * 3.0 * (-1.0) ** np.arange(STEPS), dtype=np.float64)
    return record(series(loss=loss, accuracy=0.1))


def initial(value: float) -> RunRecord:
    loss = set_at(flat(3.0), 0, value)
    return record(series(loss=loss, accuracy=0.1))


def first_norms(value: float) -> RunRecord:
    norm = set_at(flat(1.0), slice(0, 60), value)
    return record(chance(grad_norm=norm))


def overfitted(held_out: float) -> RunRecord:
    return record(series(), evaluated=evals(accuracy=held_out))


def falling(share: float) -> RunRecord:
    loss = np.linspace(1.0, 1.0 - share, 60)
    steps = np.concatenate([loss, np.full(STEPS - 60, loss[-1])]) * LN10
    return record(series(loss=steps, accuracy=0.1), what=facts(task="unknown", class_prior=()))


@dataclass(frozen=True)
class Pair:
    symptom: Symptom
    fires: Callable[[], RunRecord]
    silent: Callable[[], RunRecord]
    critical: bool = True


PAIRS = (
    Pair(
        Symptom.NON_FINITE,
        lambda: record(chance(loss=set_at(flat(LN10), slice(200, None), np.inf))),
        lambda: record(series()),
    ),
    Pair(
        Symptom.NON_FINITE,
        lambda: record(series(loss=set_at(sound_loss(), 100, np.inf))),
        lambda: record(series(skipped=1.0, grad_norm=set_at(flat(1.0), 100, np.inf))),
        critical=False,
    ),
    Pair(Symptom.DIVERGENCE, lambda: rising(2.9), lambda: rising(1.9)),
    Pair(
        Symptom.DIVERGENCE,
        lambda: record(chance(loss=set_at(flat(LN10), 3, 30.0))),
        lambda: record(chance(loss=set_at(flat(LN10), 3, 20.0))),
    ),
    Pair(Symptom.LOSS_SPIKE, lambda: spiked(3.0), lambda: spiked(0.45), critical=False),
    Pair(Symptom.OSCILLATION, lambda: swinging(0.6), lambda: swinging(0.3)),
    Pair(Symptom.FLAT_LOSS, lambda: falling(0.03), lambda: falling(0.4)),
    Pair(
        Symptom.FLAT_LOSS,
        lambda: record(chance(loss=set_at(flat(LN10), slice(0, 20), 3.5))),
        lambda: record(chance(loss=set_at(flat(0.95 * LN10), slice(0, 20), 3.5))),
    ),
    Pair(
        Symptom.CHANCE_LEVEL,
        lambda: record(chance(accuracy=0.14)),
        lambda: record(series(loss=flat(2.1), accuracy=0.2)),
    ),
    Pair(
        Symptom.VANISHING_GRADIENT,
        lambda: record(chance(), by_layer=layers(decades=3.2, ratio=1e-5)),
        lambda: record(chance(), by_layer=layers(decades=1.8, ratio=1e-5)),
    ),
    Pair(
        Symptom.VANISHING_GRADIENT,
        lambda: record(chance(), by_layer=layers(decades=2.2)),
        lambda: record(chance(), by_layer=layers(decades=1.8)),
        critical=False,
    ),
    Pair(
        Symptom.EXPLODING_GRADIENT,
        lambda: record(chance(), by_layer=layers(decades=-3.2)),
        lambda: record(chance(), by_layer=layers(decades=-1.7)),
    ),
    Pair(Symptom.EXPLODING_GRADIENT, lambda: first_norms(2e3), lambda: first_norms(5e2)),
    Pair(
        Symptom.STARVED_UPDATES,
        lambda: record(chance(), by_layer=layers(ratio=5e-6)),
        lambda: record(chance(), by_layer=layers(ratio=2e-5)),
    ),
    Pair(
        Symptom.COLLAPSED_REPRESENTATION,
        lambda: record(chance(), hidden=activations(cosine=(0.5, 0.96))),
        lambda: record(chance(), hidden=activations(cosine=(0.5, 0.94))),
    ),
    Pair(
        Symptom.COLLAPSED_REPRESENTATION,
        lambda: record(chance(), hidden=activations(cosine=(0.99, 0.99))),
        lambda: record(chance(), hidden=activations(cosine=(0.97, 0.97))),
    ),
    Pair(
        Symptom.DEAD_UNITS,
        lambda: record(chance(), hidden=activations(dead=(0.6, 0.6))),
        lambda: record(chance(), hidden=activations(dead=(0.2, 0.2))),
    ),
    Pair(
        Symptom.SATURATED_UNITS,
        lambda: record(chance(), hidden=activations(saturated=(0.6, 0.6), function="tanh")),
        lambda: record(chance(), hidden=activations(saturated=(0.2, 0.2), function="tanh")),
    ),
    Pair(Symptom.BAD_INITIAL_LOSS, lambda: initial(2.1 * LN10), lambda: initial(1.4 * LN10)),
    Pair(Symptom.OVERFITTING, lambda: overfitted(0.3), lambda: overfitted(0.8)),
)


@pytest.mark.parametrize(
    "pair", PAIRS, ids=lambda p: f"{p.symptom}-{'critical' if p.critical else 'told'}"
)
def test_pair(pair: Pair) -> None:
    detector = all_detectors()[pair.symptom.value]
    found = detector.run(pair.fires())
    assert isinstance(found, Finding)
    assert found.critical is pair.critical
    assert found.evidence.keys() >= {"value", "threshold"}
    assert 0 <= found.steps[0] <= found.steps[1] < STEPS
    assert found.reason[0].isalnum()
    assert detector.run(pair.silent()) is None


def test_all_fourteen_symptoms_have_a_detector() -> None:
    assert set(all_detectors()) == {s.value for s in Symptom}


def test_a_sound_run_is_quiet() -> None:
    sound = record(by_layer=layers(), hidden=activations(), evaluated=evals(accuracy=0.88))
    findings, insufficient = detect_all(sound)
    assert findings == ()
    assert not insufficient


@pytest.mark.parametrize(
    "parts",
    [
        {"hidden": activations(dead=(0.9, 0.9))},
        {"hidden": activations(cosine=(0.4, 0.99))},
        {"hidden": activations(saturated=(0.9, 0.9))},
        {"by_layer": layers(ratio=1e-8)},
        {"by_layer": layers(decades=5.0, ratio=1e-5)},
        {"by_layer": layers(decades=-5.0)},
    ],
    ids=["dead", "collapsed", "saturated", "starved", "vanishing", "exploding"],
)
def test_what_does_no_harm_is_never_critical(parts: dict[str, Any]) -> None:
    """Fine-tuning moves little, trained classifiers collapse within classes: only ill runs are
    failing."""
    ill, sound = learned_ill(**parts)
    assert any(f.critical for f in detect_all(ill)[0])
    assert not any(f.critical for f in detect_all(sound)[0])


def test_few_samples_of_the_other_class_are_enough_where_held_out_samples_say_so() -> None:
    fresh = np.zeros(STEPS)
    fresh[:2] = 40.0
    two = facts(class_prior=(0.9, 0.1), n_classes=2, head_width=2, label_max=1)
    detector = all_detectors()[Symptom.CHANCE_LEVEL.value]
    steps = series(accuracy=1.0, fresh_n=fresh, loss=sound_loss(start=np.log(2)))
    learned = record(steps, what=two, evaluated=evals(accuracy=0.99, prior=0.9))
    assert detector.run(learned) is None
    guessing = record(steps, what=two, evaluated=evals(accuracy=0.9, prior=0.9))
    found = detector.run(guessing)
    assert isinstance(found, Finding)
    assert "about 8 of 80 training samples" in found.reason


def test_critical_findings_come_first_and_roots_before_what_they_explain() -> None:
    findings, _ = detect_all(
        record(
            chance(), by_layer=layers(decades=4.0, ratio=1e-8), hidden=activations(dead=(0.4, 0.4))
        )
    )
    symptoms = [f.symptom for f in findings]
    assert [f.critical for f in findings] == sorted([f.critical for f in findings], reverse=True)
    assert symptoms.index(Symptom.VANISHING_GRADIENT) < symptoms.index(Symptom.FLAT_LOSS)


def test_late_flatness_does_not_hide_an_early_explosion() -> None:
    loss = set_at(flat(LN10), slice(1, 5), 1e9)
    norm = set_at(flat(1e-6), slice(0, 5), 1e8)
    symptoms = {
        f.symptom for f in detect_all(record(chance(loss=loss, grad_norm=norm)))[0] if f.critical
    }
    assert symptoms >= {Symptom.DIVERGENCE, Symptom.EXPLODING_GRADIENT, Symptom.FLAT_LOSS}


def test_nan_weights_tell_when_no_loss_was_ever_finite() -> None:
    nan = np.full(STEPS, np.nan)
    by_layer = layers()
    by_layer.weight_norm[3:] = np.nan
    found = all_detectors()["non_finite"].run(
        record(series(loss=nan, grad_norm=nan), by_layer=by_layer)
    )
    assert isinstance(found, Finding)
    assert found.critical
    assert found.layers[0] == "l0.weight"


def test_zero_losses_of_a_filtering_trainer() -> None:
    loss, norm = set_at(sound_loss(), slice(100, 110), 0.0), flat(1.0)
    norm[100:110] = np.nan
    found = all_detectors()["non_finite"].run(record(series(loss=loss, grad_norm=norm)))
    assert isinstance(found, Finding)
    assert found.steps[0] == 100


@pytest.mark.parametrize("name", sorted(s.value for s in Symptom))
def test_thresholds_are_checked(name: str) -> None:
    limits = all_detectors()[name].thresholds
    field = next(iter(type(limits).__dataclass_fields__))
    with pytest.raises(UsageError, match=field):
        type(limits)(**{field: 1e30})
    with pytest.raises(UsageError, match="nan"):
        type(limits)(**{field: float("nan")})


@pytest.mark.parametrize("name", sorted(s.value for s in Symptom))
def test_too_little_is_an_answer(name: str) -> None:
    assert isinstance(all_detectors()[name].run(record({})), Insufficient)


def test_places_of_an_image_that_see_nothing_are_not_dead_units() -> None:
    stack = (layer("l1", kind="Conv2d"), layer("l2"), layer("l3", is_output=True))
    dense = record(chance(), what=facts(layers=stack[1:]), hidden=activations(dead=(0.7, 0.7)))
    behind = record(
        chance(), what=facts(layers=stack), hidden=only(activations(dead=(0.7, 0.7)), 0)
    )
    assert isinstance(all_detectors()["dead_units"].run(dense), Finding)
    assert all_detectors()["dead_units"].run(behind) is None


def only(hidden: Any, column: int) -> Any:
    """The same samples with one watched layer."""
    parts = {
        name: getattr(hidden, name)[:, [column]]
        for name in ("cosine", "erank", "dead_share", "saturated_share")
    }
    return replace(
        hidden, names=(hidden.names[column],), functions=(hidden.functions[column],), **parts
    )


def test_models_trained_against_each_other_are_left_alone() -> None:
    gan = facts(optimizers=(optimizer(), optimizer()), n_roots=2, backwards_per_step=2)
    assert not any(f.critical for f in detect_all(record(chance(), what=gan))[0])


def test_features_of_a_regression_may_carry_the_mean() -> None:
    what = facts(
        task="regression",
        loss_function="mse_loss",
        class_prior=(),
        n_classes=0,
        target_variance=1.0,
        target_mean=5.0,
    )
    steps = chance(accuracy=np.nan, loss=flat(1.0))
    steps["r2_error"] = steps["n"] * 1.0
    for rank, ill in (((13.0, 7.0), False), ((13.0, 1.1), True), ((2.0, 2.0), True)):
        made = record(steps, what=what, hidden=activations(cosine=(0.5, 0.98), rank=rank))
        found = all_detectors()["collapsed_representation"].run(made)
        assert isinstance(found, Finding) is ill
