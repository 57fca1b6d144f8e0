"""Long runs are held against one another on their way."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.execution.jobs import made, prepare_folder, read_job, run_folder, write_outcome
from sweeper.execution.supervise import Supervisor
from sweeper.execution.trials import Bench
from sweeper.search.halving import Halving, compared_by, rungs_below
from sweeper.search.horizon import choose_horizon
from sweeper.types import Facts, Fix, Job, Outcome, Program

PLAIN = Fix(changes={"learning_rate": 0.1})
SMOOTH = Fix(changes={"label_smoothing": 0.1})
SLOW = Facts(steps=6000, finished=True, seconds_per_step=0.01, start_seconds=1.0)


def test_rungs_are_a_third_each_and_none_is_too_short() -> None:
    assert rungs_below(4050, 150) == (150, 450, 1350)
    assert rungs_below(449, 150) == ()


def test_only_runs_that_the_study_cannot_afford_in_full_have_rungs() -> None:
    def rungs(seconds: float | None) -> tuple[int, ...]:
        return choose_horizon(SLOW, seconds=seconds, slots=1, steps=None, seeds=5).rungs

    assert rungs(1200.0) == (266, 800)
    assert rungs(3 * 3600.0) == ()
    assert rungs(None) == ()


def test_a_third_goes_on() -> None:
    halving = Halving((150, 450), "accuracy")
    assert halving.bars(PLAIN) == ((150, -math.inf), (450, -math.inf))
    for value in (0.1, 0.5, 0.3):
        halving.told(PLAIN, (value,))
    assert halving.bars(PLAIN) == ((150, 0.5), (450, -math.inf))
    for value in (0.2, 0.9):
        halving.told(PLAIN, (value, 0.9))
    assert halving.bars(PLAIN)[0] == (150, 0.5)  # of six, two go on: 0.9 and one that is at least
    halving.told(PLAIN, (math.nan,))
    assert halving.bars(PLAIN)[0] == (150, 0.5)


def test_a_larger_batch_reaches_a_rung_in_fewer_steps() -> None:
    assert [step for step, _ in Halving((150, 450), "accuracy").bars(PLAIN, 4.0)] == [38, 113]


def test_a_loss_that_counts_something_else_is_not_compared() -> None:
    by_loss = Halving((150,), "task_loss")
    for _ in range(3):
        by_loss.told(SMOOTH, (5.0,))
        by_loss.told(PLAIN, (-1.0,))
    assert by_loss.bars(SMOOTH) == ()
    assert by_loss.bars(PLAIN) == ((150, -1.0),)
    assert Halving((150,), "accuracy").bars(SMOOTH) != ()


@pytest.mark.parametrize(
    ("facts", "by"),
    [
        (Facts(task="classification", class_prior=(0.5, 0.5)), "accuracy"),
        (Facts(task="binary", class_prior=(0.95, 0.05)), ""),
        (Facts(task="language_model"), "task_loss"),
        (Facts(task="regression"), "task_loss"),
        (Facts(), ""),
    ],
)
def test_what_is_compared(facts: Facts, by: str) -> None:
    assert compared_by(facts) == by
    assert bool(Halving((150,), by).bars(PLAIN)) is bool(by)  # type: ignore[arg-type]


PROGRAM = """
import torch
torch.manual_seed(0)
x, y = torch.randn(512, 6), torch.randint(0, 2, (512,))
x[:, 0] += 2.0 * y
model = torch.nn.Linear(6, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for step in range(600):
    rows = torch.randint(0, 512, (32,))
    loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("final", loss.item())
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = tmp_path / "train.py"
    path.write_text(PROGRAM)
    program = Program(kind="script", name="train", path=path, target=str(path), cwd=tmp_path)
    folder = run_folder(tmp_path / "study", Fix(), 0, None)
    return Job(program=program, fix=Fix(), seed=0, folder=folder, compared_by="accuracy")


def test_a_real_run_stops_behind_the_others_and_is_made_again_where_it_is_wanted(job: Job) -> None:
    runs = Supervisor(warm=False)
    try:
        held = replace(job, rungs=((150, -math.inf), (300, 0.99)))
        outcome = runs.run(held)
        assert outcome.status == "behind" and 300 <= outcome.steps < 600
        assert 0.7 < outcome.standings[0] < 0.99
        assert runs.run(held) == outcome  # from its folder
        whole = runs.run(job)
        assert whole.status == "finished" and whole.steps == 600 and whole.standings == ()
        assert runs.run(held) == whole
    finally:
        runs.close()


def test_jobs_and_outcomes_keep_their_rungs(job: Job) -> None:
    held = replace(job, rungs=((150, -math.inf), (300, 0.5)))
    kept: Any = read_job(prepare_folder(held))
    assert kept.rungs == held.rungs and kept.compared_by == "accuracy"
    write_outcome(held.folder, Outcome(status="behind", standings=(0.1, math.nan)))
    found = made(held)
    assert found is not None and found.standings[0] == 0.1 and math.isnan(found.standings[1])
    assert made(job) is None


def test_only_searching_runs_are_held_against_others(job: Job, tmp_path: Path) -> None:
    halving = Halving((150,), "accuracy")
    bench = Bench(
        program=job.program, study=tmp_path, facts=Facts(steps=600), horizon=450, full=None,
        planned_steps=600, slots=(), run=lambda made: Outcome(status="finished"),
        cancel=lambda: None, halving=halving,
    )  # fmt: skip
    for phase in ("screening", "joint"):
        assert bench.job(PLAIN, phase=phase).rungs == ((150, -math.inf),)  # type: ignore[arg-type]
    for phase in ("control", "elimination", "verification"):
        assert bench.job(PLAIN, phase=phase).rungs == ()  # type: ignore[arg-type]
