"""transformers.Trainer, accelerate and Lightning, unmodified: equal output, right signals, and
every remedy that applies takes hold."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sweeper.diagnosis import diagnose
from sweeper.execution.jobs import run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.execution.trials import unconfirmed
from sweeper.program.target import parse_program
from sweeper.remedies import all_remedies
from sweeper.search.judge import judge
from sweeper.telemetry.record import read_captured, read_record
from sweeper.types import Cause, Diagnosis, Facts, Fix, FixValue, Job, Symptom
from tests.conftest import PROGRAMS, Run
from tests.remedies.harness import blobs, train, under

TRAINERS = PROGRAMS / "trainers"
PLAIN = {
    "hf_trainer": ("--accumulate", "2"),
    "hf_language_model": (),
    "accelerate_loop": (),
    "lightning_module": (),
}
FAULTY = dict.fromkeys(("hf_trainer", "accelerate_loop", "lightning_module"), ("--faulty",))
IMPORTS = """
import accelerate, lightning, sklearn.datasets
from transformers import Trainer, TrainingArguments, BertForSequenceClassification, GPT2LMHeadModel
"""
BARE = (
    IMPORTS
    + """
import json, os, runpy, sys
for name, words in json.loads(sys.argv[1]).items():
    if not os.fork():
        log = os.open(f"{name}.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""
)


class Trainers:
    """Runs of the programs from one server that has imported the libraries once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        source = folder / "imports.py"
        source.write_text(IMPORTS)
        self.supervisor = Supervisor(parse_program([str(source)]))
        self.known: dict[tuple[str, ...], Run] = {}

    def baseline(self, name: str, *argv: str) -> Run:
        """The program as it is, run once."""
        key = (name, *argv)
        if key not in self.known:
            self.known[key] = self.run(name, *argv)
        return self.known[key]

    def run(
        self, name: str, *argv: str, fix: Mapping[str, FixValue] | None = None,
        facts: Facts | None = None, **fields: Any,
    ) -> Run:  # fmt: skip
        program = parse_program([str(TRAINERS / f"{name}.py"), *argv])
        study = self.folder / f"study-{len(list(self.folder.iterdir()))}"
        folder = run_folder(study, Fix(changes=fix or {}), 0, None)
        job = Job(
            program=program, fix=Fix(changes=fix or {}), seed=0, facts=facts, folder=folder,
            **{"deadline_seconds": 120.0, **fields},
        )  # fmt: skip
        outcome = self.supervisor.run(job)
        output = (folder / "output.log").read_text(errors="replace")
        assert (folder / "outcome.json").exists(), f"{outcome} {output}"
        assert not outcome.watch_errors, outcome.watch_errors[0]
        return Run(outcome=outcome, record=read_record(folder), output=output, folder=folder)

    def diagnosis(self, run: Run) -> Diagnosis:
        return diagnose(run.record, read_captured(run.folder))


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainers]:
    made = Trainers(tmp_path_factory.mktemp("trainers"))
    yield made
    made.supervisor.close()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what each plain program prints without us."""
    folder = tmp_path_factory.mktemp("bare")
    lines = {name: [str(TRAINERS / f"{name}.py"), *argv] for name, argv in PLAIN.items()}
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONHASHSEED="0")
    subprocess.run(
        [sys.executable, "-c", BARE, json.dumps(lines)], cwd=folder, env=environment, check=True,
        capture_output=True,
    )  # fmt: skip
    return folder


def told(text: str) -> list[str]:
    """Lines with the program's own metrics; those with a running time differ every time."""
    starts = ("{'loss", "{'eval", "{'total", "step ", "epoch ", "batch ")
    return [s for s in text.splitlines() if s.startswith(starts) and "runtime" not in s]


def logged(run: Run) -> list[dict[str, float]]:
    """The log history that a Trainer's program prints."""
    names = {"nan": math.nan, "inf": math.inf}
    lines = [line for line in told(run.output) if "'step'" in line]
    return [eval(line, names) for line in lines]


def numbers(run: Run, start: str, place: int) -> list[float]:
    """The ``place``-th word of the printed lines that begin so."""
    found = [line.split() for line in run.output.splitlines() if line.startswith(start)]
    return [float(words[place]) for words in found]


# -- signals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLAIN)
def test_watching_changes_nothing_that_a_program_prints(
    trainers: Trainers, bare: Path, name: str
) -> None:
    expected = told((bare / f"{name}.txt").read_text())
    assert len(expected) > 10
    assert told(trainers.baseline(name, *PLAIN[name]).output) == expected


@pytest.mark.parametrize("name", PLAIN)
def test_a_program_that_trains_well_is_restored_by_its_own_measure(
    trainers: Trainers, name: str
) -> None:
    run = trainers.baseline(name, *PLAIN[name])
    diagnosis = trainers.diagnosis(run)
    assert not diagnosis.failing, [f.reason for f in diagnosis.findings]
    assert judge(run.record, diagnosis).restored


def test_trainer_signals_are_those_that_it_logs(trainers: Trainers) -> None:
    run = trainers.baseline("hf_trainer", *PLAIN["hf_trainer"])
    record, history = run.record, logged(run)
    steps = [e for e in history if "loss" in e]
    total = record.outcome.steps
    assert len(steps) == total // 5 > 10
    loss = record.series("loss")
    for entry in steps:  # each entry is the mean of its five steps
        last = int(entry["step"])
        assert np.mean(loss[last - 5 : last]) == pytest.approx(entry["loss"], rel=1e-4)
        assert record.series("grad_norm")[last - 1] == pytest.approx(entry["grad_norm"], rel=1e-4)
    rates = [record.series("lr")[int(e["step"]) - 1] for e in steps]
    np.testing.assert_allclose(rates, [e["learning_rate"] for e in steps], rtol=1e-6)
    evaluated = [e for e in history if "eval_loss" in e]
    assert record.evals is not None
    np.testing.assert_array_equal(record.evals.step, [e["step"] for e in evaluated])
    np.testing.assert_allclose(record.evals.loss, [e["eval_loss"] for e in evaluated], rtol=1e-5)
    accuracies = [e["eval_accuracy"] for e in evaluated]
    np.testing.assert_allclose(record.evals.accuracy, accuracies, atol=1e-6)
    facts = record.facts
    assert (facts.backwards_per_step, facts.batch_size) == (2, 16)
    assert facts.optimizers[0].peak_lr == pytest.approx((3e-3, 3e-3))
    assert [(c.kind, c.max_norm, c.calls) for c in facts.clips] == [("norm", 1.0, total)]
    assert facts.schedulers == ("LambdaLR",) and facts.steps == total
    assert record.series("clipped_norm").max() <= 1.0 + 1e-4


def test_a_language_models_loss_is_over_the_tokens_that_count(trainers: Trainers) -> None:
    run = trainers.baseline("hf_language_model")
    record, history = run.record, logged(run)
    assert record.facts.task == "language_model" and record.facts.backwards_per_step == 2
    printed = [e["loss"] for e in history if "loss" in e]
    np.testing.assert_allclose(record.series("loss"), printed, rtol=1e-4)
    assert record.evals is not None
    # The Trainer divides by the labels of each row, of which the first is never predicted, and
    # takes the mean over its batches by rows; rows hold different numbers of tokens.
    rows = numbers(run, "evaluates", 1)[0]
    share = record.evals.n / (record.evals.n + rows)
    printed = [e["eval_loss"] for e in history if "eval_loss" in e]
    np.testing.assert_allclose(record.evals.loss * share, printed, rtol=2e-3)
    entropy = -sum(p * math.log(p) for p in record.facts.class_prior if p > 0)
    assert 2.5 < record.evals.loss[-1] < entropy < 3.0


def test_accelerate_signals_are_those_that_it_prints(trainers: Trainers) -> None:
    run = trainers.baseline("accelerate_loop")
    record = run.record
    full = np.arange(132) % 44 != 43  # the last step of an epoch has a smaller half
    loss, printed = record.series("loss"), np.array(numbers(run, "step", 1))
    np.testing.assert_allclose(loss[full], printed[full], atol=1e-5)
    np.testing.assert_allclose(record.series("task_loss")[full], printed[full], atol=1e-5)
    np.testing.assert_allclose(record.series("lr"), numbers(run, "step", 3), atol=1e-8)
    assert record.evals is not None
    np.testing.assert_allclose(record.evals.accuracy, numbers(run, "epoch", 3), atol=1e-6)
    assert (record.facts.backwards_per_step, record.facts.batch_size) == (2, 32)
    assert [(c.max_norm, c.calls) for c in record.facts.clips] == [(1.0, 132)]
    assert record.facts.schedulers == ("OneCycleLR",)


def test_lightning_signals_are_those_that_it_prints(trainers: Trainers) -> None:
    run = trainers.baseline("lightning_module")
    record = run.record
    halves = np.array(numbers(run, "batch", 3)).reshape(-1, 2)  # Lightning divides them by two
    np.testing.assert_allclose(record.series("loss"), halves.sum(1), atol=1e-5)
    evaluated = numbers(run, "epoch", 3), numbers(run, "epoch", 5)
    assert record.evals is not None  # the sanity check before the first step is none
    np.testing.assert_allclose(record.evals.accuracy, evaluated[0], atol=1e-6)
    np.testing.assert_allclose(record.evals.loss, evaluated[1], atol=1e-5)
    facts = record.facts
    assert (facts.backwards_per_step, facts.batch_size) == (2, 32)
    assert [(c.kind, c.max_norm, c.calls) for c in facts.clips] == [("norm", 1.0, 132)]
    assert facts.schedulers == ("CosineAnnealingLR",)
    grad, clipped = record.series("grad_norm"), record.series("clipped_norm")
    np.testing.assert_allclose(clipped, np.minimum(grad, 1.0), rtol=1e-4)
    assert (grad > 1.0).any()


def test_gradients_of_a_lightning_step_are_seen_without_accumulation_too(
    trainers: Trainers,
) -> None:
    """They are computed, cleared and clipped inside of the step."""
    run = trainers.run("lightning_module", "--accumulate", "1", "--epochs", "1")
    printed = numbers(run, "batch", 3)
    np.testing.assert_allclose(run.record.series("loss"), printed, atol=1e-5)
    assert run.record.facts.grads_zeroed and run.record.facts.backwards_per_step == 1
    grad = run.record.series("grad_norm")
    np.testing.assert_allclose(run.record.series("clipped_norm"), np.minimum(grad, 1.0), rtol=1e-4)


# -- remedies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "argv"), [*PLAIN.items(), *FAULTY.items()], ids=lambda v: "".join(v).strip("-")
)
def test_every_remedy_that_applies_takes_hold_beside_all_others(
    trainers: Trainers, name: str, argv: tuple[str, ...]
) -> None:
    """Each alone is a row of the table of styles."""
    run = trainers.baseline(name, *argv)
    diagnosis, facts = trainers.diagnosis(run), run.record.facts
    fix = {
        remedy.name: remedy.suggest(facts, diagnosis)[0]
        for remedy in all_remedies().values()
        if not remedy.refusal(facts)
    }
    assert len(fix) >= 10
    changed = trainers.run(name, *argv, fix=fix, facts=facts, planned_steps=facts.steps)
    assert changed.outcome.status == "finished", changed.outcome
    assert unconfirmed(Fix(changes=fix), changed.record) == {}
    assert unconfirmed(Fix(changes=fix), replace(run.record, fix=Fix(changes=fix))).keys() >= {
        "clip_norm", "init", "lr_schedule", "optimizer",
    }  # fmt: skip


def test_every_fault_of_the_faulty_programs_has_its_repair(trainers: Trainers) -> None:
    repairs = {
        "hf_trainer": {"add_missing_parameters", "drop_output_softmax", "unfreeze"},
        "accelerate_loop": {"add_missing_parameters", "loss", "train_mode", "unfreeze",
                            "zero_grad"},
        "lightning_module": {"add_missing_parameters", "class_weights", "drop_output_softmax",
                             "train_mode", "unfreeze"},
    }  # fmt: skip
    for name, expected in repairs.items():
        run = trainers.baseline(name, *FAULTY[name])
        applicable = {n for n, r in all_remedies().items() if not r.refusal(run.record.facts)}
        assert expected <= applicable, name
        diagnosis = trainers.diagnosis(run)
        assert diagnosis.failing
        named = {h.remedies[0] for h in diagnosis.hypotheses[:4] if h.remedies}
        assert named & expected, name


def test_a_rate_keeps_the_shape_of_a_trainers_schedule(trainers: Trainers) -> None:
    own = trainers.baseline("lightning_module")
    changed = trainers.run(
        "lightning_module", fix={"learning_rate": 3e-4, "clip_norm": 0.05}, facts=own.record.facts
    )
    np.testing.assert_allclose(changed.record.series("lr"), own.record.series("lr") / 10, rtol=1e-6)
    assert changed.record.series("clipped_norm").max() <= 0.05 * 1.001


def test_a_model_that_refuses_train_mode_is_not_told_as_repaired() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> nn.Module:
            return super().train(False)

    model = Frozen(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    model.train()
    with under({"train_mode": True}) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), data=blobs())
    assert run.status == "not_applied"
    assert "keeps it in eval mode" in run.session.refused["train_mode"]


# -- failures --------------------------------------------------------------------------------------


def test_a_trainers_rate_far_too_high_is_the_first_cause(trainers: Trainers) -> None:
    run = trainers.run("hf_trainer", "--lr", "3")
    diagnosis = trainers.diagnosis(run)
    assert diagnosis.failing and diagnosis.hypotheses[0].cause is Cause.LEARNING_RATE_TOO_HIGH


def test_losses_that_a_trainer_hides_from_its_log_are_seen(trainers: Trainers) -> None:
    run = trainers.run("hf_trainer", "--lr", "1e4", "--epochs", "1")
    printed = [e["loss"] for e in logged(run) if "loss" in e]
    assert len(printed) > 3 and np.isfinite(printed).all()
    loss = run.record.series("loss")
    assert np.isnan(loss[len(loss) // 2 :]).all()
    diagnosis = trainers.diagnosis(run)
    assert Symptom.NON_FINITE in {f.symptom for f in diagnosis.findings}
    assert diagnosis.hypotheses[0].cause is Cause.LEARNING_RATE_TOO_HIGH


def test_a_lightning_run_that_vanishes_is_told_with_its_activation(trainers: Trainers) -> None:
    run = trainers.run("lightning_module", "--activation", "Sigmoid", "--depth", "10")
    diagnosis = trainers.diagnosis(run)
    assert Symptom.VANISHING_GRADIENT in {f.symptom for f in diagnosis.findings}
    assert diagnosis.failing and diagnosis.hypotheses[0].cause is Cause.SATURATING_ACTIVATION
