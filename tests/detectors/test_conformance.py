"""What every detector and every cause keeps by existing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

from sweeper.detectors import all_detectors, detect_all, thresholds_of
from sweeper.diagnosis import all_causes, constants_of_cause, diagnose
from sweeper.types import Cause, Facts, Finding, RunRecord
from tests.detectors.records import activations, chance, evals, facts, layers, record, series


def empty() -> RunRecord:
    return record({}, what=Facts())


def one_step() -> RunRecord:
    steps = {k: v[:1] for k, v in series().items()}
    return record(
        steps, by_layer=layers(n_samples=1), hidden=activations(), evaluated=evals(accuracy=0.5)
    )


def all_nan() -> RunRecord:
    steps = {k: np.full_like(v, np.nan) for k, v in series().items()}
    by_layer, hidden, held = layers(), activations(), evals(accuracy=0.5)
    return record(
        steps,
        what=facts(class_prior=(float("nan"),) * 10, target_variance=float("nan")),
        by_layer=replace(
            by_layer,
            **{
                n: np.full_like(getattr(by_layer, n), np.nan)
                for n in ("grad_norm", "weight_norm", "update_norm")
            },
        ),
        hidden=replace(
            hidden,
            **{
                n: np.full_like(hidden.cosine, np.nan)
                for n in ("cosine", "erank", "dead_share", "saturated_share")
            },
        ),
        evaluated=replace(held, accuracy=held.accuracy * np.nan, skill=held.skill * np.nan),
    )


def infinite() -> RunRecord:
    steps = {
        k: np.full_like(v, np.inf) if k in ("loss", "task_loss", "grad_norm") else v
        for k, v in series().items()
    }
    return record(steps, by_layer=layers(ratio=float("inf")))


def zeros() -> RunRecord:
    steps = {k: np.zeros_like(v) for k, v in series().items()}
    by_layer = layers()
    return record(
        steps,
        by_layer=replace(
            by_layer, grad_norm=by_layer.grad_norm * 0, weight_norm=by_layer.weight_norm * 0
        ),
    )


RECORDS: dict[str, Callable[[], RunRecord]] = {
    "empty": empty,
    "one_step": one_step,
    "all_nan": all_nan,
    "infinite": infinite,
    "zeros": zeros,
    "chance": lambda: record(
        chance(), by_layer=layers(ratio=0.0), hidden=activations(dead=(1.0, 1.0))
    ),
}


@pytest.mark.parametrize("make", RECORDS.values(), ids=RECORDS.keys())
def test_no_record_raises(make: Callable[[], RunRecord]) -> None:
    made = make()
    findings, _ = detect_all(made)
    for finding in findings:
        assert 0 <= finding.severity <= 1
        assert np.isfinite(finding.severity)
        assert finding.steps[0] <= finding.steps[1]
    diagnosis = diagnose(made)
    assert diagnosis.findings == findings
    for hypothesis in diagnosis.hypotheses:
        assert 0 < hypothesis.belief < 1


@pytest.mark.parametrize("name", sorted(all_detectors()))
def test_detector_is_documented(name: str) -> None:
    detector = all_detectors()[name]
    assert detector.symptom.value == name
    assert len(detector.definition) > 30
    assert detector.source
    source = type(detector.thresholds)
    assert fields(detector.thresholds), "a detector has thresholds"
    assert source.__dataclass_params__.frozen  # type: ignore[attr-defined]
    for number in thresholds_of(detector.thresholds):
        assert number.unit, f"{name}.{number.name} has no unit"
        assert len(number.text) > 15, f"{name}.{number.name} does not say what it is"
        assert number.value == getattr(detector.thresholds, number.name)


@pytest.mark.parametrize("name", sorted(all_causes()))
def test_cause_is_documented(name: str) -> None:
    rule = all_causes()[name]
    assert rule.cause.value == name
    assert len(rule.definition) > 30
    assert rule.source
    assert rule.cause not in rule.explains
    for number in constants_of_cause(name):
        assert len(number.text) > 15, f"{name}.{number.name} does not say what it is"
    incurable = {
        "labels_without_signal",
        "label_noise",
        "non_finite_data",
        "constant_inputs",
        "code_fault",
    }
    assert bool(rule.remedies) == (name not in incurable)


def test_every_cause_has_a_rule() -> None:
    assert set(all_causes()) == {c.value for c in Cause}


def test_findings_do_not_depend_on_the_order_of_detectors() -> None:
    ill = RECORDS["chance"]()
    by_itself = [d.run(ill) for d in reversed(all_detectors().values())]
    assert {f.symptom for f in by_itself if isinstance(f, Finding)} == {
        f.symptom for f in detect_all(ill)[0]
    }
