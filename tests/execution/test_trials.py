"""From a run to a judged trial: a remedy that took no hold is told as not applied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.execution.jobs import read_job
from sweeper.execution.trials import Bench, trial_of, unconfirmed
from sweeper.program.target import parse_program
from sweeper.search.campaign import is_restored
from sweeper.types import Facts, Fix, Job, LoaderFact, Outcome, Trial
from tests.conftest import PROGRAMS, Run, Runner


def as_trial(run: Run) -> Trial:
    return trial_of(read_job(run.folder / "job.json"), run.outcome, "screening", 1)


def test_rate_that_cannot_hold_is_not_applied_and_never_ranked(run: Runner) -> None:
    facts = run("stubborn").record.facts
    defeated = as_trial(run("stubborn", {"learning_rate": 0.3}, facts=facts))
    assert "writes lr again (at 20 steps)" in defeated.not_applied["learning_rate"]
    assert defeated.judgement is not None
    assert not is_restored(replace(defeated, judgement=replace(defeated.judgement, restored=True)))
    obeyed = as_trial(
        run("functional", {"learning_rate": 0.3}, facts=run("functional").record.facts)
    )
    assert obeyed.not_applied == {}


def test_nanogpt_like_loop_obeys_the_rate_and_keeps_its_shape(run: Runner) -> None:
    own = run("loop_rate")
    changed = run("loop_rate", {"learning_rate": 0.03}, facts=own.record.facts)
    assert as_trial(changed).not_applied == {}
    ratio = changed.record.series("lr") / own.record.series("lr")
    assert ratio == pytest.approx([5.0] * 60, rel=1e-6)
    assert "lr 0.006000" in changed.output  # the program still reads the values that it wrote


def test_record_of_an_unchanged_run_confirms_no_change(run: Runner) -> None:
    record = run("loop_rate").record
    fix = Fix(changes={"optimizer": "sgd", "clip_norm": 0.1, "learning_rate": 0.5})
    assert set(unconfirmed(fix, record)) == {"optimizer", "clip_norm", "learning_rate"}


def test_batch_size_is_compared_at_equal_samples(tmp_path: Path) -> None:
    def never(job: Job) -> Outcome:
        raise AssertionError

    bench = Bench(
        program=parse_program([str(PROGRAMS / "low_rate.py")]), study=tmp_path,
        facts=Facts(batch_size=24, steps=120, seconds_per_step=0.01, start_seconds=0.1),
        horizon=120, full=None, planned_steps=120, slots=(), run=never, cancel=lambda: None,
    )  # fmt: skip
    assert bench.job(Fix(changes={"batch_size": 48})).max_steps == 60
    assert bench.job(Fix(changes={"batch_size": 12})).max_steps == 240
    assert bench.job(Fix(changes={"clip_norm": 1.0})).max_steps == 120
    assert bench.job(Fix(changes={"batch_size": 48}), full=True).max_steps is None


def test_a_loader_batch_counts_as_often_as_the_program_accumulates(tmp_path: Path) -> None:
    def never(job: Job) -> Outcome:
        raise AssertionError

    loader = LoaderFact(index=0, batch_size=8, n_samples=640, n_batches=80, trained=True)
    bench = Bench(
        program=parse_program([str(PROGRAMS / "low_rate.py")]), study=tmp_path,
        facts=Facts(batch_size=32, backwards_per_step=4, loaders=(loader,), steps=120),
        horizon=120, full=None, planned_steps=120, slots=(), run=never, cancel=lambda: None,
    )  # fmt: skip
    job = bench.job(Fix(changes={"batch_size": 16}))
    assert (job.max_steps, job.planned_steps) == (60, 60)
