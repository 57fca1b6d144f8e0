"""Runs with some skill that fail all the same: beside simple models, or by an evident fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweeper.diagnosis import diagnose
from sweeper.diagnosis._noise import held_out_lead
from sweeper.diagnosis._probe import Probe
from sweeper.telemetry.record import Captured
from sweeper.types import Cause, Diagnosis, EvalSeries, Replay, RunRecord
from tests.detectors.records import (
    LN10,
    STEPS,
    chance,
    evals,
    facts,
    flat,
    layers,
    optimizer,
    record,
    series,
)

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(10), 60)
ROWS = (RNG.standard_normal((10, 20)) * 2)[LABELS] + RNG.standard_normal((600, 20))


def captured(inputs: Any = ROWS, targets: Any = LABELS) -> Captured:
    return Captured(
        inputs=np.asarray(inputs, dtype=np.float32) if inputs.dtype.kind == "f" else inputs,
        targets=np.asarray(targets, dtype=np.float32), logits_first=None,
    )  # fmt: skip


def best(diagnosis: Diagnosis) -> Cause | None:
    return diagnosis.hypotheses[0].cause if diagnosis.hypotheses else None


# -- label noise -----------------------------------------------------------------------------------


def phases(first: float, last: float, n: float = 500, fresh: float = 1.0) -> EvalSeries:
    """Five evaluations with accuracy skill from ``first`` to ``last``."""
    skill = np.linspace(first, last, 5)
    return EvalSeries(
        step=np.linspace(STEPS / 5, STEPS, 5), n=np.full(5, n), loss=np.full(5, np.nan),
        accuracy=0.1 + 0.9 * skill, skill=skill, fresh_share=np.full(5, fresh),
        rare_n=np.full(5, np.nan), rare_correct=np.full(5, np.nan),
    )  # fmt: skip


def taught(trained: float, n_pass: int = 50, **what: Any) -> RunRecord:
    """Training batches with skill ``trained``, evaluations from skill 0.6 down to 0.4."""
    steps = series(n_pass=n_pass, accuracy=0.1 + 0.9 * trained, loss=flat(LN10 * (1 - trained)))
    return record(steps, what=facts(**what), by_layer=layers(), evaluated=phases(0.6, 0.4))


def test_held_out_samples_far_ahead_of_repeated_ones_are_label_noise() -> None:
    found = diagnose(taught(0.6 - 0.26))
    assert found.failing
    assert best(found) is Cause.LABEL_NOISE
    lead = held_out_lead(taught(0.6 - 0.26))
    assert lead is not None
    assert lead.held_out == pytest.approx(0.6)
    assert lead.trained == pytest.approx(0.34)
    assert not diagnose(taught(0.6 - 0.24)).failing


@pytest.mark.parametrize(
    "made",
    [
        taught(0.3, dropout=(0.5,)),  # dropout makes training samples the harder ones
        taught(0.3, n_pass=STEPS),  # so do transforms that make every row new
        taught(0.3, task="regression"),
        replace(taught(0.3), evals=phases(0.6, 0.4, n=40)),
        replace(taught(0.3), evals=phases(0.6, 0.4, fresh=0.1)),
        replace(taught(0.3), evals=None),
    ],
    ids=["dropout", "transformed", "regression", "few", "trained on", "none"],
)
def test_what_else_puts_held_out_samples_ahead_is_no_noise(made: RunRecord) -> None:
    assert held_out_lead(made) is None


def test_a_lead_with_much_skill_left_is_no_failure() -> None:
    noisy = replace(taught(0.3), evals=phases(0.7, 0.6))
    assert held_out_lead(noisy) is not None
    assert not diagnose(noisy).failing


# -- beside simple models --------------------------------------------------------------------------


def rare(recall: float) -> RunRecord:
    """Nine of ten samples are of one class; the other is found in ``recall`` of the cases."""
    unequal = facts(
        task="binary", loss_function="binary_cross_entropy", n_classes=2, head_width=1,
        class_prior=(0.9, 0.1),
    )  # fmt: skip
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    right = 0.9 + 0.1 * recall
    made = record(
        series(accuracy=right, majority=0.98, loss=flat(0.6 * entropy)), what=unequal,
        by_layer=layers(),
    )  # fmt: skip
    replay = Replay(
        n=1000, skill=recall, loss=0.2, eval_skill=recall, recall=(1.0, recall),
        class_counts=(900, 100),
    )  # fmt: skip
    return replace(made, replay=replay)


def test_of_unequal_classes_recall_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(recall: float, simple: float) -> bool:
        probe = Probe(
            n=1000, p_value=0.002, score=0.7, accuracy=0.97, prior=0.9, wrong_share=0.0,
            balanced=simple,
        )  # fmt: skip
        monkeypatch.setattr("sweeper.diagnosis._base.simple_models", lambda *_: probe)
        return diagnose(rare(recall), captured()).failing

    assert verdict(0.15, 0.8)
    assert verdict(0.15, 0.41)
    assert not verdict(0.15, 0.39)  # a lead of 0.24
    assert not verdict(0.6, 0.95)  # more than half of what is possible
    assert not verdict(0.15, np.nan)


# -- an evident fault ------------------------------------------------------------------------------


def tokens(**what: Any) -> RunRecord:
    """A language model with skill 0.25 in nats, well above chance."""
    held_out = evals(loss=(np.nan, np.nan, 0.75 * LN10), n=5000)
    model = facts(task="language_model", **what)
    return record(
        series(accuracy=0.3, loss=flat(0.7 * LN10)),
        what=model,
        by_layer=layers(),
        evaluated=held_out,
    )


def test_of_token_models_an_evident_fault_alone_decides() -> None:
    assert not diagnose(tokens()).failing
    assert best(diagnose(tokens(n_frozen=6000))) is Cause.FROZEN_PARAMETERS
    missing = diagnose(tokens(optimizers=(optimizer(n_missing=6000),)))
    assert missing.failing
    assert best(missing) is Cause.PARAMETERS_NOT_IN_OPTIMIZER
    assert best(diagnose(tokens(dropout=(0.95,)))) is Cause.DROPOUT_TOO_STRONG
    assert not diagnose(tokens(n_frozen=6000, pretrained=True)).failing
    assert not diagnose(tokens(n_frozen=400)).failing
    assert not diagnose(tokens(dropout=(0.3,))).failing


def test_a_loss_that_cannot_work_needs_no_measured_skill() -> None:
    """Predictions [N, 1] against targets [N]: no error of single samples is known, nor a skill."""

    def made(errors: float) -> RunRecord:
        steps = series(loss=np.linspace(1.0, 0.6, STEPS), accuracy=np.nan)
        steps["r2_error"] = np.full(STEPS, errors)
        what = facts(
            task="regression", loss_function="smooth_l1_loss", class_prior=(), n_classes=0,
            head_width=1, target_variance=1.0, target_mean=0.0,
        )  # fmt: skip
        return record(steps, what=what, by_layer=layers())

    found = diagnose(made(np.nan))
    assert found.failing
    assert best(found) is Cause.WRONG_LOSS
    assert "no skill was seen" in found.findings[0].reason
    assert not diagnose(made(64 * 0.1)).failing


# -- evidence --------------------------------------------------------------------------------------


def test_what_never_ran_is_not_said_to_have_run() -> None:
    def reason(backwards: int) -> str:
        still = record(chance(grad_norm=np.nan), what=facts(
            detached=True, backwards_per_step=backwards), by_layer=layers(ratio=0.0))  # fmt: skip
        told = diagnose(still).hypotheses[0]
        assert told.cause is Cause.CODE_FAULT
        return told.reason

    assert "backward ran" in reason(1)
    assert "backward never ran" in reason(0)


def test_one_token_and_its_padding_are_constant_inputs() -> None:
    lengths = np.arange(200) % 7 + 2
    same = np.where(np.arange(9) < lengths[:, None], 5, 0)
    made = record(chance(), what=facts(), by_layer=layers())
    labels = np.arange(200) % 10
    assert best(diagnose(made, captured(same, labels))) is Cause.CONSTANT_INPUTS
    bits = RNG.integers(0, 2, (200, 9))
    assert best(diagnose(made, captured(bits, labels))) is not Cause.CONSTANT_INPUTS


def test_absurd_rows_do_not_hide_what_simple_models_find() -> None:
    from sweeper.diagnosis._probe import simple_models

    wild = ROWS.copy()
    wild[::150] = 1e6
    clean, found = simple_models(captured(), facts()), simple_models(captured(wild), facts())
    assert clean is not None and found is not None
    assert found.n == clean.n - 4
    assert found.score > clean.score - 0.05
    assert found.balanced == pytest.approx(found.score, abs=0.05)
