"""`sweeper inject`: break a sound program in one known way and hold the diagnosis against it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.baseline import MOST_SECONDS, Baseline, diagnosed, run_baseline
from sweeper.conclusion import conclude
from sweeper.execution.jobs import run_folder, write_json
from sweeper.execution.lock import StudyLock
from sweeper.faults import Fault, parse_fault
from sweeper.options import Options
from sweeper.report.study_result import StudyResult
from sweeper.report.terminal import Progress
from sweeper.report.verdict import verdict_text
from sweeper.study import open_folder
from sweeper.types import Cause, Fix, FixValue, Job, Outcome, Program, ProgramCrashed, UsageError
from sweeper.workshop import runner

LONGER = 20
"""A run under a fault is cut after so many times the seconds of the sound run: one sample a step
makes many more steps of the same data."""


@dataclass(frozen=True, kw_only=True)
class Injected:
    """A fault, what the diagnosis makes of it, and the sound run beside it."""

    fault: str
    value: FixValue
    truth: tuple[Cause, ...]
    result: StudyResult
    """Of the run under the fault, as `sweeper check` gives it."""
    sound: Baseline

    @property
    def place(self) -> int:
        """Place of the first right cause among those told, from 1; 0 when none is right."""
        named = [h.cause for h in self.result.diagnosis.hypotheses]
        return next((i for i, cause in enumerate(named, start=1) if cause in self.truth), 0)

    @property
    def lines(self) -> tuple[str, ...]:
        """For people."""
        found = self.result.trials[0].judgement
        own = self.sound.trial.judgement
        causes = " or ".join(cause.value for cause in self.truth)
        told = f"named in place {self.place}" if self.place else "not named"
        lines = [f"Injected: {self.fault}={self.value}, which is {causes}: {told}"]
        if own is not None and found is not None:
            lines.append(
                f"Skill ({own.metric_name}): {own.skill:.3f} without the fault, {found.skill:.3f}"
                " with it"
            )
        if self.sound.diagnosis.failing:
            symptoms = ", ".join(f.symptom for f in self.sound.diagnosis.findings if f.critical)
            lines.append(f"The program is failing without the fault already: {symptoms}")
        return tuple(lines)

    def data(self) -> dict[str, Any]:
        """``verdict.json`` of the run with a key ``injected``."""
        told: dict[str, Any] = json.loads(verdict_text(self.result))
        own, found = self.sound.trial.judgement, self.result.trials[0].judgement
        told["injected"] = {
            "fault": self.fault,
            "value": self.value,
            "causes": [cause.value for cause in self.truth],
            "place": self.place,
            "sound": {
                "failing": self.sound.diagnosis.failing,
                "skill": own.skill if own else None,
                "run": f"runs/{self.sound.trial.folder.name}",
            },
            "skill": found.skill if found else None,
            "run": f"runs/{self.result.trials[0].folder.name}",
        }
        return told


def inject(options: Options, text: str, progress: Progress) -> Injected:
    """Run the program as it is, then under the fault ``NAME`` or ``NAME=VALUE``, and diagnose.

    The result is kept in ``injected/`` of the study folder.

    Raises:
        UsageError: an unknown fault or value, or one that this program cannot have.
        ProgramCrashed: the program crashes, with the fault or without it.
    """
    fault, value = parse_fault(text)
    started = time.monotonic()
    open_folder(options.study, options.program, {})
    with StudyLock(options.study), runner(options) as runs:
        progress.phase("sound run")
        sound = run_baseline(
            options.program, options.study, lambda job: runs.run(runs.first().place(job)),
            steps=options.steps, seconds=options.budget,
        )  # fmt: skip
        progress.message(sound.summary)
        progress.phase(f"under {fault.name}={value}")
        broken = run_injected(
            options.program, fault, value, sound, lambda job: runs.run(runs.first().place(job)),
            options.study, steps=options.steps,
        )  # fmt: skip
        progress.message(broken.summary)
        result = conclude(
            broken, started=started, options=options, notes=runs.notes, only_checked=True
        )
    injected = Injected(
        fault=fault.name, value=value, truth=fault.causes(value), result=result, sound=sound
    )
    write_json(place_of(options.study, fault.name, value), injected.data())
    return injected


def place_of(study: Path, fault: str, value: FixValue) -> Path:
    """The file of one injected fault."""
    name = fault if value is True else f"{fault}={value}"
    return study / "injected" / f"{name}.json"


def run_injected(
    program: Program,
    fault: Fault,
    value: FixValue,
    sound: Baseline,
    run: Callable[[Job], Outcome],
    study: Path,
    *,
    steps: int | None = None,
    seed: int = 0,
) -> Baseline:
    """One run of a program under a fault, diagnosed. Raises as `inject`."""
    if reason := fault.refusal(value, sound.facts):
        raise UsageError(f"FAULT must be possible in this program, got {fault.name}: {reason}")
    seconds = max(sound.trial.outcome.seconds, 1.0)
    changes = {fault.name: value}
    job = Job(
        program=program, fix=Fix(), fault=changes, facts=sound.facts, seed=seed, max_steps=steps,
        max_seconds=min(MOST_SECONDS, LONGER * seconds), planned_steps=sound.facts.steps,
        deadline_seconds=60.0 + 2 * LONGER * seconds,
        folder=run_folder(study, Fix(), seed, steps, changes),
    )  # fmt: skip
    outcome = run(job)
    if outcome.refused:
        reason = "; ".join(outcome.refused.values())
        raise UsageError(f"FAULT must be possible in this program, got {fault.name}: {reason}")
    if outcome.status == "program_error" and outcome.steps < 1:
        raise ProgramCrashed(
            f"{program.name} crashes under {fault.name}={value}: {outcome.error}\n"
            f"{outcome.traceback.strip()}"
        )
    broken = diagnosed(job, outcome)
    if reason := fault.effect(value, broken.record):
        raise UsageError(
            f"FAULT must take hold in this program, got {fault.name}={value} without effect:"
            f" {reason}"
        )
    return broken
