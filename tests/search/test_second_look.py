"""A fault behind a fault: the trial that treats the first one shows the second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.diagnosis import diagnose
from sweeper.execution.jobs import run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.execution.trials import trial_of
from sweeper.program.target import parse_program
from sweeper.search.second_look import MOST, MOST_ADDED, SecondLook
from sweeper.search.space import load_space
from sweeper.telemetry.record import read_captured, read_record
from sweeper.types import Cause, Fix, Job, Trial

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "programs" / "mlp_digits.py"
FAULT = {"softmax_output": True, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def seen(
    supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SecondLook, Trial]:
    """A digits network with a softmax before its loss and a rate of a thousandth; the look at it,
    and the trial without the softmax."""
    program, study = parse_program([str(PROGRAM)]), tmp_path_factory.mktemp("study")

    def job(fix: Fix, **more: object) -> Job:
        folder = run_folder(study, fix, 0, 120, more.get("fault"))  # type: ignore[arg-type]
        return Job(program=program, fix=fix, seed=0, max_steps=120, folder=folder, **more)  # type: ignore[arg-type]

    sound = job(Fix())
    supervisor.run(sound)
    broken = job(Fix(), fault=FAULT, facts=read_record(sound.folder).facts)
    supervisor.run(broken)
    record = read_record(broken.folder)
    diagnosis = diagnose(record, read_captured(broken.folder))
    assert diagnosis.hypotheses[0].cause is Cause.SOFTMAX_BEFORE_LOSS
    treated = job(Fix(changes={"drop_output_softmax": True}), fault=FAULT, facts=record.facts)
    trial = trial_of(treated, supervisor.run(treated), "screening", 1)
    assert trial.judgement is not None and not trial.judgement.restored
    space = load_space()
    dimensions, _ = space.applicable(record.facts)
    return SecondLook(record.facts, diagnosis, space, dimensions), trial


def test_the_masked_fault_is_treated_on_top(seen: tuple[SecondLook, Trial]) -> None:
    look, trial = replace(seen[0]), seen[1]
    fixes = look.after(trial)
    assert 1 <= len(fixes) <= MOST_ADDED
    assert fixes[0].changes.keys() == {"drop_output_softmax", "learning_rate"}
    rate = fixes[0].changes["learning_rate"]
    assert isinstance(rate, float) and rate > 100 * 5e-5


def test_looks_end(seen: tuple[SecondLook, Trial]) -> None:
    look, trial = replace(seen[0]), seen[1]
    fixes = [fix for _ in range(MOST + 1) for fix in look.after(trial)]
    assert len(fixes) == MOST


def test_only_a_failed_treatment_of_what_is_believed_is_looked_at(
    seen: tuple[SecondLook, Trial],
) -> None:
    look, trial = replace(seen[0]), seen[1]
    assert trial.judgement is not None
    good = replace(trial.judgement, restored=True, reasons=())
    assert look.after(replace(trial, judgement=good)) == []
    assert look.after(replace(trial, judgement=None)) == []
    assert look.after(replace(trial, not_applied={"drop_output_softmax": "no softmax"})) == []
    assert look.after(replace(trial, fix=Fix(changes={"batch_size": 64}))) == []
    many = ["drop_output_softmax", "learning_rate", "optimizer", "init"]
    assert look.after(replace(trial, fix=Fix(changes=dict.fromkeys(many, True)))) == []
