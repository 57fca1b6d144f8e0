"""The program as it is: one run under the empty fix, its findings and causes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sweeper.consent import require_for_refused
from sweeper.diagnosis import diagnose
from sweeper.execution.jobs import log_tail, run_folder
from sweeper.execution.trials import trial_of
from sweeper.search.judge import judge
from sweeper.telemetry.record import read_captured, read_record
from sweeper.types import (
    Diagnosis,
    Facts,
    Fix,
    Job,
    Outcome,
    Program,
    ProgramCrashed,
    RunRecord,
    Symptom,
    Trial,
    UsageError,
)

MIN_STEPS = 10
"""Optimizer steps below which nothing can be said of a run."""
BASELINE_SHARE = 0.2
"""Share of the wall clock that the baseline may take."""
MOST_SECONDS = 120.0
"""A longer program is judged on what it does in so many seconds of training."""
FIRST_STEP_SECONDS = 600.0
"""The first optimizer step must come within this (data loading, tokenising)."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What the unchanged program did."""

    trial: Trial
    record: RunRecord
    diagnosis: Diagnosis

    @property
    def facts(self) -> Facts:
        return self.record.facts

    @property
    def summary(self) -> str:
        """One line for people."""
        facts = self.facts
        optimizer = facts.optimizers[0] if facts.optimizers else None
        what = f"{optimizer.name} lr {optimizer.peak_lr[0]:g}" if optimizer else "no optimizer"
        length = "to its end" if facts.finished else "cut by the budget"
        if facts.trains_again:
            length = "of the first of its trainings, the only one that is looked at"
        compiled = ", torch.compile switched off" if facts.compiled else ""
        return (
            f"{facts.steps} steps {length}, {facts.n_parameters:,} parameters, {what}, "
            f"batch {facts.batch_size}, "
            f"{facts.task} by {facts.loss_function or 'a loss of its own'}{compiled}"
        )


def run_baseline(
    program: Program,
    study: Path,
    run: Callable[[Job], Outcome],
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    deterministic: bool = False,
    allow_side_effects: bool = False,
) -> Baseline:
    """Run the program unchanged and diagnose it.

    ``deterministic`` cuts it by steps alone, never by the clock, and needs ``steps`` for a program
    that does not end within `MOST_SECONDS`.

    Raises:
        ProgramCrashed: it ends with an error of its own, not for a training that went non-finite.
        UsageError: no optimizer is built, too few steps, no first step in time, or the program was
            kept from something that needs consent even once.
    """
    cap = (
        MOST_SECONDS if seconds is None else min(MOST_SECONDS, max(10.0, BASELINE_SHARE * seconds))
    )
    job = Job(
        program=program, fix=Fix(), seed=seed, max_steps=steps,
        max_seconds=None if deterministic and steps is not None else cap,
        deadline_seconds=FIRST_STEP_SECONDS + 2 * cap, folder=run_folder(study, Fix(), seed, steps),
        allow_side_effects=allow_side_effects,
    )  # fmt: skip
    outcome = run(job)
    require_for_refused(program, job.folder)
    _check_started(program, job, outcome)
    record = read_record(job.folder)
    if deterministic and steps is None and not record.facts.finished:
        raise UsageError(
            f"--deterministic cuts runs by steps, not by the clock: it needs --steps for a program "
            f"that does not end within {cap:.0f} s, got none for {program.name} "
            f"({outcome.steps} steps so far)"
        )
    return diagnosed(job, outcome)


def diagnosed(job: Job, outcome: Outcome) -> Baseline:
    """Read a finished run back with its diagnosis.

    Raises:
        ProgramCrashed: it ended with an error of its own, not for a training that went non-finite.
        UsageError: too few steps.
    """
    program, record = job.program, read_record(job.folder)
    diagnosis = diagnose(record, read_captured(job.folder))
    broke = any(f.symptom is Symptom.NON_FINITE for f in diagnosis.findings)
    if outcome.status == "program_error" and not broke:
        raise ProgramCrashed(_crash_text(program, outcome))
    if outcome.status != "program_error":
        _check_length(program, outcome)
    trial = trial_of(job, outcome, "baseline", 0)
    return Baseline(trial=_judged(trial, record, diagnosis), record=record, diagnosis=diagnosis)


def _judged(trial: Trial, record: RunRecord, diagnosis: Diagnosis) -> Trial:
    from dataclasses import replace

    return replace(trial, judgement=judge(record, diagnosis))


_ENDS = {
    "killed": "it was killed", "out_of_memory": "it ran out of memory",
    "infrastructure": "its process was gone before it told how it ended",
}  # fmt: skip


def _check_started(program: Program, job: Job, outcome: Outcome) -> None:
    early = outcome.status == "program_error" and outcome.steps < MIN_STEPS
    if early and not _broke(job.folder):
        raise ProgramCrashed(_crash_text(program, outcome))
    if outcome.status in ("killed", "out_of_memory", "infrastructure"):
        tail = log_tail(job.folder)
        raise ProgramCrashed(
            f"{program.name} ends by itself after {outcome.steps} steps, without any change of "
            f"ours: {_ENDS[outcome.status]} ({outcome.error})\n{tail}"
        )
    if outcome.status == "no_optimizer" and "program" in outcome.refused:
        raise UsageError(
            f"PROGRAM must train where it can be watched, got {program.path}: "
            f"{outcome.refused['program']}"
        )
    if outcome.status == "no_optimizer":
        raise UsageError(
            f"PROGRAM must build a torch.optim optimizer and step it, "
            f"got none while {program.path} ran to its end"
        )
    if outcome.status == "deadline" and outcome.steps < MIN_STEPS:
        raise UsageError(
            f"PROGRAM must take {MIN_STEPS} optimizer steps within {job.deadline_seconds:.0f} s, "
            f"got {outcome.steps} in {program.path}"
        )


def _broke(folder: Path) -> bool:
    """Whether the last step of a run that ended with an error had a loss of NaN."""
    from math import isnan

    loss = read_record(folder).series("loss")
    return bool(len(loss)) and isnan(loss[-1])


def _check_length(program: Program, outcome: Outcome) -> None:
    if outcome.steps < MIN_STEPS:
        raise UsageError(
            f"PROGRAM must take at least {MIN_STEPS} optimizer steps to be judged, "
            f"got {outcome.steps} in {program.path}"
        )


def _crash_text(program: Program, outcome: Outcome) -> str:
    held = (
        "\nIts files were contained by redirected calls, for want of an overlay: what other "
        "programs and libraries write is refused then, which may be the reason"
        if outcome.containment == "redirect"
        else ""
    )
    return (
        f"{program.name} crashes by itself after {outcome.steps} steps, "
        f"without any change of ours: {outcome.error}\n{outcome.traceback.strip()}{held}"
    )
