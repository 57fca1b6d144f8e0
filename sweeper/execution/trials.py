"""From a fix to a judged trial: build the job, run it on the slots, read its record, confirm
effects, judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sweeper.detectors import detect_all
from sweeper.execution.jobs import run_folder
from sweeper.execution.slots import Slot, fan_out
from sweeper.remedies import all_remedies
from sweeper.remedies.batch_size import own_size
from sweeper.search.halving import Halving
from sweeper.search.judge import judge
from sweeper.telemetry.record import read_record
from sweeper.types import Diagnosis, Facts, Fix, Job, Outcome, Program, RunRecord, Trial

Phase = Literal["baseline", "control", "screening", "joint", "elimination", "verification"]
HALVED: frozenset[Phase] = frozenset({"screening", "joint"})
"""Phases whose long runs are held against one another."""
MIN_DEADLINE = 60.0
MIN_SILENCE = 30.0
SILENCE_FACTOR = 10.0
"""A run hangs when it makes no step for so long beyond so many times the baseline's own pauses."""
ROUND = 4
"""Runs of one round of a deterministic study, whatever the number of slots: more slots wait, fewer
ask with what older rounds taught."""
DEADLINE_FACTOR = 6.0
"""A run may take so many times what the baseline's pace promises before it is ended: several runs
share the machine and a remedy may make steps dearer."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything that the runs of one study have in common.

    Args:
        facts: of the baseline.
        horizon: optimizer steps of a run in screening and search; None runs the program to its end.
        full: the longer horizon of verification.
        planned_steps: length of the program, for schedules; None if unknown.
        run: makes one run (`Supervisor.run`).
        deterministic: ask for `ROUND` fixes, run them all, tell them in the order of asking, so
            that neither the number of slots nor which run ends first changes what is asked next.
    """

    program: Program
    study: Path
    facts: Facts
    horizon: int | None
    full: int | None
    planned_steps: int | None
    slots: Sequence[Slot]
    run: Callable[[Job], Outcome]
    cancel: Callable[[], None]
    deterministic: bool = False
    longest_gap: float = 0.0
    """Of the baseline, seconds; 0 for unknown."""
    allow_side_effects: bool = False
    halving: Halving | None = None
    """Holds searching runs against one another on their way; None lets each go on to its end."""

    def job(
        self, fix: Fix, seed: int = 0, *, full: bool = False, phase: Phase | None = None
    ) -> Job:
        """The job of a fix. A batch size is compared at equal samples seen, everything else at
        equal steps."""
        steps = self.full if full else self.horizon
        planned = self.planned_steps
        ratio = self._samples_ratio(fix)
        if ratio != 1.0:
            steps = None if steps is None else max(1, math.ceil(steps / ratio))
            planned = None if planned is None else max(1, math.ceil(planned / ratio))
        pace = self.facts.seconds_per_step if math.isfinite(self.facts.seconds_per_step) else 1.0
        count = steps or planned or self.facts.steps
        expected = self.facts.start_seconds + count * pace * max(1.0, ratio)
        halving = self.halving if phase in HALVED else None
        return Job(
            program=self.program, fix=fix, seed=seed, max_steps=steps, facts=self.facts,
            folder=run_folder(self.study, fix, seed, steps), planned_steps=planned,
            stop_when_hopeless=True, rungs=halving.bars(fix, ratio) if halving else (),
            compared_by=halving.by if halving else "", allow_side_effects=self.allow_side_effects,
            silence_seconds=self._silence(ratio),
            deadline_seconds=(
                MIN_DEADLINE + DEADLINE_FACTOR * expected if math.isfinite(expected) else 600.0
            ),
        )  # fmt: skip

    def _silence(self, ratio: float) -> float | None:
        """Seconds without a step after which a run hangs, by the longest pause that the baseline
        made (an evaluation, a checkpoint)."""
        if self.longest_gap <= 0:
            return None
        return MIN_SILENCE + SILENCE_FACTOR * self.longest_gap * max(1.0, ratio)

    def _samples_ratio(self, fix: Fix) -> float:
        """Samples per step against the program's own; a loader's batch counts as often as the
        program accumulates."""
        value = fix.changes.get("batch_size")
        own = own_size(self.facts)
        return float(value) / own if isinstance(value, (int, float)) and own else 1.0

    def run_all(
        self,
        wanted: Callable[[], tuple[Phase, Fix, int, bool] | None],
        told: Callable[[Trial], None],
    ) -> None:
        """Run what ``wanted`` gives (phase, fix, seed, full horizon) on the slots; ``told`` gets
        each trial."""
        phases: dict[Path, Phase] = {}
        number = iter(range(10**9))

        def next_job() -> Job | None:
            item = wanted()
            if item is None:
                return None
            phase, fix, seed, full = item
            job = self.job(fix, seed, full=full, phase=phase)
            phases[job.folder] = phase
            return job

        def done(job: Job, outcome: Outcome) -> None:
            if self.halving is not None and job.rungs:
                self.halving.told(job.fix, outcome.standings)
            told(trial_of(job, outcome, phases[job.folder], next(number)))

        if not self.deterministic:
            fan_out(next_job, done, self.slots, self.run, self.cancel)
            return
        while asked := _round(next_job):
            for job, outcome in zip(asked, self._run_round(asked), strict=True):
                done(job, outcome)

    def _run_round(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Their outcomes, in the order of the jobs."""
        ended: dict[Path, Outcome] = {}
        waiting = iter(jobs)

        def told(job: Job, outcome: Outcome) -> None:
            ended[job.folder] = outcome

        fan_out(lambda: next(waiting, None), told, self.slots, self.run, self.cancel)
        return [ended[job.folder] for job in jobs]

    def run_list(
        self, phase: Phase, items: Iterable[tuple[Fix, int]], *, full: bool
    ) -> list[Trial]:
        """Run fixed (fix, seed) pairs, in order; trials come back in that order."""
        pairs = list(items)
        queue = list(pairs)
        found: dict[tuple[str, int], Trial] = {}

        def wanted() -> tuple[Phase, Fix, int, bool] | None:
            if not queue:
                return None
            fix, seed = queue.pop(0)
            return phase, fix, seed, full

        self.run_all(wanted, lambda t: found.__setitem__((t.fix.hash, t.seed), t))
        return [found[fix.hash, seed] for fix, seed in pairs if (fix.hash, seed) in found]


def _round(next_job: Callable[[], Job | None]) -> list[Job]:
    jobs: list[Job] = []
    while len(jobs) < ROUND and (job := next_job()) is not None:
        jobs.append(job)
    return jobs


def trial_of(job: Job, outcome: Outcome, phase: Phase, number: int) -> Trial:
    """Read a run back and judge it by itself; the study's best is held against it later."""
    trial = Trial(
        number=number, phase=phase, fix=job.fix, seed=job.seed, outcome=outcome, judgement=None,
        folder=job.folder,
    )  # fmt: skip
    if not outcome.ran:
        return replace(trial, not_applied=dict(outcome.refused))
    record = read_record(job.folder)
    missing = unconfirmed(job.fix, record)
    findings, insufficient = detect_all(record)
    diagnosis = Diagnosis(findings=findings, hypotheses=(), insufficient=insufficient)
    return replace(trial, judgement=judge(record, diagnosis), not_applied=missing)


def unconfirmed(fix: Fix, record: RunRecord) -> dict[str, str]:
    """Remedy -> why its effect does not show in the record."""
    remedies = all_remedies()
    missing = dict(record.outcome.refused)
    for name, value in fix.changes.items():
        reason = remedies[name].effect(value, record)
        if reason:
            missing.setdefault(name, reason)
    return missing
