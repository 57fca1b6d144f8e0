"""Runs made once and paid by everyone: a bench whose runs come from one archive and are billed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sweeper.execution.jobs import REPEATABLE, finished, run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.execution.trials import Bench, Phase, trial_of
from sweeper.types import Fix, FixValue, Job, Outcome, Program, Trial

TRIAL = "SWEEPER_BENCHMARK_TRIAL"
HERE = Path(__file__).resolve().parent


class OutOfTime(Exception):
    """A run is missing and none can be made now; given again, the command makes it."""


class Archive:
    """Runs of one program by what was run; a missing one is made, in this process one at a time."""

    def __init__(self, program: Program, over: Callable[[], bool]) -> None:
        self._program = program
        self._over = over
        self._runs: Supervisor | None = None
        self._judged: dict[Path, tuple[Trial, float]] = {}
        self.made = 0
        self.spent = 0.0
        """Seconds of this process in making and judging runs, which are billed apart."""

    def outcome(self, job: Job) -> tuple[Outcome, float]:
        """(outcome, wall seconds that the run took when it was made).

        Raises:
            OutOfTime: the run is missing and the time is over.
        """
        beside = job.folder.with_name(f"{job.folder.name}.json")
        known = finished(job.folder)
        if known is not None and beside.is_file():
            return known, float(json.loads(beside.read_text())["wall"])
        if self._over():
            raise OutOfTime
        if self._runs is None:
            os.environ["SWEEPER_WORKER"] = "faulty_worker"
            os.environ["PYTHONPATH"] = os.pathsep.join(
                [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
            )
            self._runs = Supervisor(self._program)
            self._runs.start()
        start = time.monotonic()
        made = self._runs.run(job)
        wall = time.monotonic() - start
        if made.status in REPEATABLE:
            raise OutOfTime(f"{job.folder.name}: {made.status} {made.error}")
        beside.write_text(json.dumps({"wall": wall}))
        self.made += 1
        return made, wall

    def trial(self, job: Job, phase: Phase) -> tuple[Trial, float]:
        """The judged run and the seconds that running and judging it took."""
        if job.folder not in self._judged:
            begun = time.monotonic()
            outcome, wall = self.outcome(job)
            start = time.monotonic()
            trial = trial_of(job, outcome, phase, 0)
            self._judged[job.folder] = trial, wall + time.monotonic() - start
            self.spent += time.monotonic() - begun
        trial, seconds = self._judged[job.folder]
        return replace(trial, phase=phase), seconds

    def close(self) -> None:
        if self._runs is not None:
            self._runs.close()
            self._runs = None


@dataclass
class Bill:
    """What one method has to pay in one study: every run once, a pruned one in part."""

    limit: int
    """Training steps after which it is over."""
    steps: int = 0
    seconds: float = 0.0
    runs: int = 0
    _paid: dict[Path, float] = field(default_factory=dict)

    def pay(self, trial: Trial, seconds: float, share: float = 1.0) -> None:
        before = self._paid.get(trial.folder, 0.0)
        if share <= before:
            return
        self.runs += not before
        self.steps += round(trial.outcome.steps * share) - round(trial.outcome.steps * before)
        self.seconds += seconds * (share - before)
        self._paid[trial.folder] = share

    def over(self) -> str:
        return f"{self.limit} training steps are spent" if self.steps >= self.limit else ""


@dataclass(frozen=True, kw_only=True)
class PaidBench(Bench):
    """The bench of a study whose runs come from the archive, one after the other."""

    fault: Mapping[str, FixValue]
    archive: Archive
    bill: Bill

    def job(self, fix: Fix, seed: int = 0, *, full: bool = False) -> Job:
        job = super().job(fix, seed, full=full)
        return replace(
            job, fault=self.fault, environment={TRIAL: "1"},
            folder=run_folder(self.study, fix, seed, job.max_steps, self.fault),
        )  # fmt: skip

    def run_all(
        self,
        wanted: Callable[[], tuple[Phase, Fix, int, bool] | None],
        told: Callable[[Trial], None],
    ) -> None:
        while (item := wanted()) is not None:
            phase, fix, seed, full = item
            trial, seconds = self.archive.trial(self.job(fix, seed, full=full), phase)
            self.bill.pay(trial, seconds)
            told(trial)
