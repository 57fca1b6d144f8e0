"""The whole run on one screen:
baseline -> diagnosis -> screening -> joint search -> proof -> ranking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeper.baseline import run_baseline
from sweeper.conclusion import conclude
from sweeper.consent import require as require_consent
from sweeper.consent import told
from sweeper.execution.jobs import unfinished
from sweeper.execution.lock import StudyLock
from sweeper.execution.runner import Local, Runner
from sweeper.execution.trials import Bench, Phase
from sweeper.experience import add, earlier
from sweeper.interrupt import Interrupt
from sweeper.report.study_result import StudyResult
from sweeper.report.terminal import Progress
from sweeper.search.campaign import Campaign
from sweeper.search.horizon import choose_horizon
from sweeper.search.screening import incurable, remedy_beliefs, screening_order
from sweeper.search.space import load_space
from sweeper.search.stopping import Limits
from sweeper.search.study import JointStudy
from sweeper.study import open_folder
from sweeper.types import Fix, Program, Trial, UsageError, VerifiedFix
from sweeper.verification.fresh_seeds import Rule
from sweeper.verification.proof import Proof

CERTAIN = 0.9
"""Belief in an incurable cause from which no remedy is tried at all."""
CONTROL_SEEDS = (1, 2)
"""The unchanged program reseeded beside the search: is the failure a matter of luck?"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line may say."""

    program: Program
    study: Path
    space: str | None = None
    budget: float | None = 600.0
    """Seconds of wall clock; None is without limit."""
    trials: int = 40
    steps: int | None = None
    seeds: int = 5
    slots: int | None = None
    seed: int = 0
    warm: bool = True
    storage: str | None = None
    """Database URL of a server that keeps the study; None keeps it in the study folder."""
    ray: str | None = None
    """Address of a Ray cluster, or ``local``; None makes the runs on this machine."""
    devices: str | None = None
    trials_per_gpu: int = 1
    deterministic: bool = False
    """Same seed, same ranking: rounds of fixed size, no wall clock, everything asked anew."""
    allow_side_effects: bool = False
    """Trials may repeat what the baseline did outside of its own files (servers, devices)."""


def remediate(options: Options, progress: Progress) -> StudyResult:
    """Fix a failing program, or say with evidence that it is healthy or that no remedy cures it."""
    started, program = time.monotonic(), options.program
    space, rule = load_space(options.space), Rule(seeds=options.seeds)
    open_folder(
        options.study,
        program,
        {
            "space": options.space,
            "steps": options.steps,
            "seed": options.seed,
            "deterministic": options.deterministic,
        },
    )
    interrupt = Interrupt()
    with (
        StudyLock(options.study),
        runner(options) as runs,
        interrupt.handled(runs.cancel),
    ):
        progress.phase("baseline")
        baseline = run_baseline(
            program, options.study,
            lambda job: interrupt.checked(runs.run(runs.first().place(job))),
            steps=options.steps, seconds=options.budget, deterministic=options.deterministic,
            allow_side_effects=options.allow_side_effects,
        )  # fmt: skip
        progress.trial_done(baseline.trial)
        progress.message(f"{baseline.summary}; files: {baseline.trial.outcome.containment}")
        for line in told(baseline.trial.folder):
            progress.message(line)
        if not baseline.diagnosis.failing:
            return conclude(baseline, started=started, options=options, notes=runs.notes)
        if incurable(baseline.diagnosis, CERTAIN):
            return conclude(baseline, started=started, options=options, notes=runs.notes)
        require_consent(program, baseline.trial.folder, options.allow_side_effects)

        slots = runs.slots(baseline.trial.outcome.peak_memory)
        left = None if options.budget is None else options.budget - (time.monotonic() - started)
        horizon = choose_horizon(
            baseline.facts, seconds=left, slots=len(slots), steps=options.steps, seeds=rule.seeds
        )
        progress.message(f"horizon: {horizon.reason}")
        bench = Bench(
            program=program, study=options.study, facts=baseline.facts, horizon=horizon.search,
            full=horizon.full,
            planned_steps=baseline.facts.steps if baseline.facts.finished else None,
            slots=slots, run=runs.run, cancel=runs.cancel, deterministic=options.deterministic,
            longest_gap=baseline.trial.outcome.longest_gap,
            allow_side_effects=options.allow_side_effects,
        )  # fmt: skip
        limits = Limits(
            trials=options.trials, seconds=options.budget, search_share=horizon.search_share
        )
        dimensions, not_applicable = space.applicable(baseline.facts)
        study = JointStudy(
            options.study / "journal.log", dimensions=dimensions, remedies=space.remedies,
            max_changes=space.max_changes, seed=options.seed, replay=options.deterministic,
            storage=options.storage,
            again=[j.fix for j in unfinished(options.study) if j.seed == 0 and j.fix.changes],
        )  # fmt: skip
        # A deterministic study must not depend on the studies before it.
        history = {} if options.deterministic else earlier(baseline.diagnosis, progress.message)
        campaign = Campaign(
            screening_order(baseline.facts, baseline.diagnosis, space, history), study, limits,
            started=started, beliefs=remedy_beliefs(baseline.diagnosis),
            interrupted=lambda: interrupt.reason,
        )  # fmt: skip
        campaign.tell(baseline.trial)
        proof = Proof(
            bench=bench, rule=rule, told=progress.trial_done,
            over=lambda n, ahead=0.0: (
                interrupt.reason or limits.all_over(time.monotonic() - started + ahead, n)
            ),
        )  # fmt: skip
        # What restores goes to its proof at once until one fix is verified: where the diagnosis is
        # right that takes a handful of runs, and what follows looks for better ones.
        while not proof.n_verified():
            search(bench, campaign, progress, until=lambda: proof.has_new(campaign.candidates))
            if not proof.has_new(campaign.candidates):
                break
            progress.phase("proof")
            with campaign.paused():
                proof.prove_next(campaign.candidates, campaign.rejudged(), campaign.best_skill)
        controls = search(bench, campaign, progress, CONTROL_SEEDS)

        progress.phase("proof")
        proof.best_skill = campaign.best_skill
        fixes = proof.prove(campaign.candidates, campaign.rejudged())
        if (
            not interrupt.reason
            and not any(fix.verified for fix in fixes)
            and (best := best_unproven(campaign, fixes))
        ):
            fixes = proof.verify_best(best)
        result = conclude(
            baseline, started=started, options=options, notes=runs.notes, campaign=campaign,
            proof=proof, controls=controls, fixes=fixes, study=study,
            not_applicable=not_applicable, horizon=horizon,
        )  # fmt: skip
        study.close()
        add(result, progress.message)
        return result


def check(options: Options, progress: Progress) -> StudyResult:
    """One run and its diagnosis."""
    started = time.monotonic()
    open_folder(options.study, options.program, {})
    with StudyLock(options.study), runner(options) as runs:
        progress.phase("baseline")
        baseline = run_baseline(
            options.program, options.study, lambda job: runs.run(runs.first().place(job)),
            steps=options.steps, seconds=options.budget,
            allow_side_effects=options.allow_side_effects,
        )  # fmt: skip
        progress.message(f"{baseline.summary}; files: {baseline.trial.outcome.containment}")
        for line in told(baseline.trial.folder):
            progress.message(line)
        return conclude(
            baseline, started=started, options=options, notes=runs.notes, only_checked=True
        )


def search(
    bench: Bench,
    campaign: Campaign,
    progress: Progress,
    control_seeds: Sequence[int] = (),
    until: Callable[[], bool] = lambda: False,
) -> list[Trial]:
    """Screening and joint search on all slots until ``until`` holds, then the unchanged program on
    ``control_seeds``, whose trials are returned.
    """
    waiting, controls = list(control_seeds), []

    def wanted() -> tuple[Phase, Fix, int, bool] | None:
        if until():
            return None
        item = campaign.next_fix()
        if item is None and waiting and not campaign.interrupted():
            return "control", Fix(), waiting.pop(0), False
        if item is None:
            return None
        phase, fix = item
        progress.phase(phase)
        progress.trial_started(fix.label)
        return phase, fix, 0, False

    def told(trial: Trial) -> None:
        progress.trial_done(trial)
        if trial.phase == "control":
            controls.append(trial)
        else:
            campaign.tell(trial)

    bench.run_all(wanted, told)
    return controls


def best_unproven(campaign: Campaign, fixes: Sequence[VerifiedFix]) -> Fix | None:
    """The highest-scoring change not put to the proof yet that beats the baseline, or None."""
    tried = {f.fix.hash for f in fixes}
    judged = [t for t in campaign.trials if t.judgement is not None and not t.not_applied]
    floor = max(
        (t.judgement.score for t in judged if not t.fix.changes and t.judgement), default=-3.0
    )
    better = [
        t for t in judged
        if t.fix.changes and t.fix.hash not in tried
        and t.judgement and t.judgement.score > floor + 0.05
    ]  # fmt: skip
    best = max(
        better, key=lambda t: (t.judgement.score if t.judgement else -3.0, t.fix.hash), default=None
    )
    return best.fix if best else None


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
