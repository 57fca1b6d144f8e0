"""What every remedy promises, held for each that exists."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from sweeper.remedies import all_remedies, customary_rate, validate_fix
from sweeper.search.values import into_space
from sweeper.types import (
    ActivationSite,
    Cause,
    ClipFact,
    Diagnosis,
    Facts,
    Fix,
    FixValue,
    Hypothesis,
    LayerFact,
    LoaderFact,
    OptimizerFact,
    Outcome,
    RunRecord,
    UsageError,
)

OPTIMIZER = OptimizerFact(
    name="Adam", peak_lr=(0.01,), first_lr=0.01, last_lr=0.01, weight_decay=0.1, momentum=0.0,
    n_parameters=100, n_frozen=10, n_without_grad=0, n_missing=5,
)  # fmt: skip
LAYERS = (
    LayerFact(name="0", kind="Linear", n_in=6, n_out=16, followed_by="relu"),
    LayerFact(name="2", kind="Linear", n_in=16, n_out=16, followed_by="relu"),
    LayerFact(name="4", kind="Linear", n_in=16, n_out=3, is_output=True),
)
SITES = tuple(
    ActivationSite(site=s, kind="module", function="relu", swappable=True) for s in ("1", "3")
)
FAULTY = Facts(
    task="classification", loss_function="cross_entropy", n_classes=3, class_prior=(0.7, 0.2, 0.1),
    output_activation="softmax", head_width=3, batch_size=8, optimizers=(OPTIMIZER,), layers=LAYERS,
    activations=SITES, norms=("norm",), dropout=(0.5,), grads_zeroed=False, n_frozen=10,
    trained_in_eval_mode=True, steps=500, input_features=6, input_dtype="float32",
    loaders=(LoaderFact(index=0, batch_size=8, n_samples=640, n_batches=80, trained=True),),
    clips=(ClipFact(kind="norm", max_norm=0.01, norm_type=2.0, calls=500),),
)  # fmt: skip
REGRESSION = Facts(
    task="regression", loss_function="mse_loss", batch_size=16, input_dtype="float32",
    layers=LAYERS, optimizers=(OPTIMIZER,), steps=300,
)  # fmt: skip
LANGUAGE = Facts(
    task="language_model", loss_function="cross_entropy", input_dtype="int64", pretrained=True,
    optimizers=(OPTIMIZER, OPTIMIZER), class_prior=(0.5, 0.5), batch_size=4,
    layers=(LayerFact(name="e", kind="Embedding", n_in=9, n_out=4),),
)  # fmt: skip
PROGRAMS = {"faulty": FAULTY, "regression": REGRESSION, "language": LANGUAGE, "unknown": Facts()}
NOTHING = Diagnosis(findings=(), hypotheses=())
DIAGNOSES = [
    NOTHING,
    *(
        Diagnosis(findings=(), hypotheses=(Hypothesis(cause=c, belief=0.8, reason="test"),))
        for c in Cause
    ),
]
REMEDIES = all_remedies()
each = pytest.mark.parametrize("name", REMEDIES)
on_each = pytest.mark.parametrize("program", PROGRAMS)
where_it_applies = pytest.mark.parametrize(
    ("name", "program"),
    [(n, p) for n in sorted(REMEDIES) for p in PROGRAMS if not REMEDIES[n].refusal(PROGRAMS[p])],
)


def record(**steps: list[float]) -> RunRecord:
    """A run in which nothing was applied."""
    return RunRecord(
        folder=None, fix=Fix(), seed=0, max_steps=None, outcome=Outcome(status="finished", steps=3),
        facts=FAULTY, steps={k: np.array(v) for k, v in steps.items()}, layers=None,
        activations=None, evals=None,
    )  # fmt: skip


def suggestions(name: str, facts: Facts) -> list[FixValue]:
    found = [v for d in DIAGNOSES for v in REMEDIES[name].suggest(facts, d)]
    return [json.loads(v) for v in sorted({json.dumps(v, sort_keys=True) for v in found})]


def test_all_of_the_design_are_there() -> None:
    assert set(REMEDIES) >= {
        "optimizer", "learning_rate", "lr_schedule", "clip_norm", "weight_decay", "activation",
        "normalisation", "residual", "init", "batch_size", "dropout", "label_smoothing", "loss",
        "standardise_inputs", "clamp_outliers", "class_weights", "drop_output_softmax", "zero_grad",
        "train_mode", "unfreeze", "add_missing_parameters",
    }  # fmt: skip


def test_the_driver_side_imports_no_torch() -> None:
    code = (
        "import sys; from sweeper.remedies import all_remedies; from sweeper.types import *;"
        "[r.refusal(Facts()) for r in all_remedies().values()]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@each
def test_says_what_it_is(name: str) -> None:
    remedy = REMEDIES[name]
    assert remedy.name == name and remedy.summary and remedy.source and remedy.treats


@each
@on_each
def test_refusal_is_a_reason_or_the_space_holds(name: str, program: str) -> None:
    remedy, facts = REMEDIES[name], PROGRAMS[program]
    assert isinstance(remedy.refusal(facts), str)
    if not remedy.refusal(facts):
        for dimension in remedy.space(facts).values():
            assert dimension.choices or dimension.hard_low <= dimension.low < dimension.high
            assert dimension.high <= dimension.hard_high or dimension.kind == "choice"


@each
def test_a_program_with_every_fault_or_a_regression_can_take_it(name: str) -> None:
    assert not all(REMEDIES[name].refusal(facts) for facts in (FAULTY, REGRESSION))


@where_it_applies
def test_suggestions_are_canonical_and_in_the_space(name: str, program: str) -> None:
    remedy, facts = REMEDIES[name], PROGRAMS[program]
    for diagnosis in DIAGNOSES:
        assert 1 <= len(remedy.suggest(facts, diagnosis)) <= 3
    for value in suggestions(name, facts):
        assert remedy.validate(value) == value
        assert into_space(remedy, value, remedy.space(facts)) == value
        advice = remedy.advice(value, facts)
        assert advice and "None" not in advice
        for milder in remedy.toward_baseline(value, facts):
            assert remedy.validate(milder) == milder != value


@where_it_applies
def test_points_of_the_space_are_values(name: str, program: str) -> None:
    remedy, facts = REMEDIES[name], PROGRAMS[program]
    corners = [
        [(key, v) for v in (d.choices or (d.low, d.high))] for key, d in remedy.space(facts).items()
    ]
    for corner in itertools.product(*corners):
        value = remedy.validate(dict(corner))
        assert remedy.validate(value) == value
        assert remedy.validate(json.loads(json.dumps(value))) == value
        assert remedy.advice(value, facts)


@each
@pytest.mark.parametrize(
    "value", ["no such value", -1e30, math.nan, None, [1], {"nonsense": 1}, False, 1e30]
)
def test_wrong_values_name_the_rule(name: str, value: FixValue) -> None:
    with pytest.raises(UsageError, match=name) as error:
        validate_fix({name: value}, "fix.toml")
    assert "got" in str(error.value) and "fix.toml" in str(error.value)


def test_unknown_remedies_name_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'clip_normm' in fix\.toml; did you mean 'clip_norm'"):
        validate_fix({"clip_normm": 1.0}, "fix.toml")


@each
def test_a_run_without_it_shows_no_effect(name: str) -> None:
    untouched = record(lr=[0.01] * 3, step=[0, 1, 2], n=[8.0] * 3, clipped_norm=[5.0] * 3)
    for facts in (FAULTY, REGRESSION):
        for value in suggestions(name, facts) if not REMEDIES[name].refusal(facts) else []:
            assert REMEDIES[name].effect(value, untouched)


def test_rates_move_as_the_diagnosis_says() -> None:
    remedy = REMEDIES["learning_rate"]
    high = Diagnosis(
        findings=(),
        hypotheses=(Hypothesis(cause=Cause.LEARNING_RATE_TOO_HIGH, belief=0.9, reason=""),),
    )
    low = Diagnosis(
        findings=(),
        hypotheses=(Hypothesis(cause=Cause.LEARNING_RATE_TOO_LOW, belief=0.9, reason=""),),
    )
    assert remedy.suggest(FAULTY, high) == (0.001, 0.000333, 0.0001)
    assert remedy.suggest(FAULTY, low) == (0.1, 1.0, 10.0)
    assert customary_rate("adam", FAULTY) == 1e-3


def test_customary_rates_are_there_for_every_optimizer() -> None:
    for kind in REMEDIES["optimizer"].space(FAULTY)["optimizer"].choices:
        assert 1e-4 < customary_rate(str(kind), FAULTY) <= 0.1
