"""A command at work on one study: its lock, what makes its runs, the baseline, the bench."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sweeper.baseline import Baseline, run_baseline
from sweeper.conclusion import conclude
from sweeper.consent import told
from sweeper.execution.jobs import finished, forget
from sweeper.execution.lock import StudyLock
from sweeper.execution.runner import Local, Runner
from sweeper.execution.trials import Bench
from sweeper.interrupt import Interrupt
from sweeper.options import Options
from sweeper.report.study_result import StudyResult
from sweeper.report.terminal import Progress
from sweeper.search.halving import Halving, compared_by
from sweeper.search.horizon import Horizon, choose_horizon
from sweeper.types import Job, Outcome, Program, UsageError


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every step of one command needs."""

    options: Options
    progress: Progress
    runs: Runner
    interrupt: Interrupt
    identity: str
    """Of the program when the command began."""
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return time.monotonic() - self.started

    def baseline(self) -> Baseline:
        """Run the program unchanged, diagnose it and say what was seen.

        Raises what `run_baseline` raises, and KeyboardInterrupt when the person ended it.
        """
        options, runs = self.options, self.runs
        self.progress.phase("baseline")
        found = run_baseline(
            options.program, options.study,
            lambda job: self.interrupt.checked(self.run(runs.first().place(job))),
            steps=options.steps, seconds=options.budget, deterministic=options.deterministic,
            allow_side_effects=options.allow_side_effects,
        )  # fmt: skip
        self.progress.trial_done(found.trial)
        self.progress.message(f"{found.summary}; files: {found.trial.outcome.containment}")
        for line in told(found.trial.folder):
            self.progress.message(line)
        return found

    def run(self, job: Job) -> Outcome:
        """Make a run of the program as it was when the command began.

        Raises:
            UsageError: it is edited meanwhile. What ran under two sources cannot be compared, so
                the run is not kept.
        """
        kept = finished(job.folder)
        outcome = self.runs.run(job)
        if _identity(job.program) != self.identity:
            if kept is None:
                forget(job.folder)
            raise UsageError(
                f"PROGRAM must stay as it is while it is run again and again, got another source "
                f"in {job.program.path} or in a file that it imports; finished runs are kept for "
                f"the old one, and the new one is another study"
            )
        return outcome

    def bench(self, baseline: Baseline) -> tuple[Bench, Horizon]:
        """Where the trials are made, and how long each of them is."""
        options, facts = self.options, baseline.facts
        slots = self.runs.slots(baseline.trial.outcome.peak_memory)
        left = None if options.budget is None else options.budget - self.seconds
        horizon = choose_horizon(
            facts, seconds=left, slots=len(slots), steps=options.steps, seeds=options.seeds
        )
        self.progress.message(f"horizon: {horizon.reason}")
        bench = Bench(
            program=options.program, study=options.study, facts=facts, horizon=horizon.search,
            full=horizon.full, planned_steps=facts.steps if facts.finished else None,
            slots=slots, run=self.run, cancel=self.runs.cancel,
            deterministic=options.deterministic,
            longest_gap=baseline.trial.outcome.longest_gap,
            allow_side_effects=options.allow_side_effects,
            halving=Halving(horizon.rungs, compared_by(facts)) if horizon.rungs else None,
        )  # fmt: skip
        return bench, horizon

    def only_baseline(self, baseline: Baseline, *, only_checked: bool = False) -> StudyResult:
        """The result where nothing was searched."""
        return conclude(
            baseline, started=self.started, options=self.options, notes=self.runs.notes,
            only_checked=only_checked,
        )  # fmt: skip


@contextmanager
def workshop(options: Options, progress: Progress) -> Iterator[Workshop]:
    """Hold the study and everything that is started for it; all of it ends with the block.

    Raises:
        UsageError: another driver holds the study, or devices or cluster are not there.
    """
    interrupt = Interrupt()
    with (
        StudyLock(options.study),
        runner(options) as runs,
        interrupt.handled(runs.cancel),
    ):
        yield Workshop(
            options=options, progress=progress, runs=runs, interrupt=interrupt,
            identity=_identity(options.program),
        )  # fmt: skip


def _identity(program: Program) -> str:
    """Empty while an editor has the file away."""
    try:
        return program.identity
    except OSError:
        return ""


@contextmanager
def runner(options: Options) -> Iterator[Runner]:
    """What makes this command's runs; everything it started ends with it."""
    runs: Runner
    if options.ray is None:
        runs = Local(
            options.program, warm=options.warm, log=options.study / "zygote.log",
            count=options.slots, devices=options.devices, per_device=options.trials_per_gpu,
        )  # fmt: skip
    else:
        from sweeper.execution.cluster import Cluster

        if options.devices is not None:
            raise UsageError(f"--ray chooses devices by itself, got --devices {options.devices}")
        runs = Cluster(
            options.program, options.ray, warm=options.warm, count=options.slots,
            per_device=options.trials_per_gpu,
        )  # fmt: skip
    try:
        yield runs
    finally:
        runs.close()
