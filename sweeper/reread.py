"""A study folder -> the result that it holds: the finished one, or what an unfinished study knows
so far. Reads only; a driver may be at work on the study meanwhile.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.baseline import Baseline, run_baseline
from sweeper.conclusion import code_faults, remedy_rows, repaired
from sweeper.execution.jobs import JOB, finished, read_job
from sweeper.execution.trials import trial_of
from sweeper.report.archive import FILE as ARCHIVE
from sweeper.report.archive import read_result
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import rank
from sweeper.search.journal import told_phases
from sweeper.search.space import load_space
from sweeper.study import FILE
from sweeper.types import (
    Diagnosis,
    Facts,
    Job,
    Outcome,
    Program,
    ProgramCrashed,
    SweeperError,
    Trial,
    UsageError,
    VerifiedFix,
)
from sweeper.verification.fresh_seeds import FIRST_SEED, Rule, Verification, held_against

SEARCHING = ("baseline", "screening", "joint", "elimination")
OLDER = (
    "The older sweeper that finished this study kept less of its result: this is made from its "
    "runs, and the same command makes all of it again without repeating them."
)


def reread(study: Path) -> StudyResult:
    """The result of the study as it lies there.

    Raises:
        UsageError: not a study folder, or a damaged one.
    """
    about = _about(study)
    archive = study / "report" / ARCHIVE
    if not archive.is_file():
        result = _so_far(study, about)
        if result.unfinished and _made_before(archive.parent / "verdict.json"):
            result = replace(result, unfinished=OLDER)
        return result
    result = read_result(archive, study)
    written = archive.stat().st_mtime
    later = sum(p.stat().st_mtime > written for p in study.glob("runs/*/outcome.json"))
    if not later:
        return result
    note = f"{later} runs were made after this result: the study was gone on with and not finished"
    return replace(result, notes=(*result.notes, note))


def _made_before(verdict: Path) -> bool:
    """A verdict from before results were kept whole: those of now say whether they are finished."""
    try:
        return "unfinished" not in json.loads(verdict.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _about(study: Path) -> dict[str, Any]:
    path = study / FILE
    if not path.is_file():
        raise UsageError(f"STUDY must be a study folder of sweeper, got {study} without {FILE}")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return {"program": str(about["program"]), "source": str(about.get("source", "")),
                "settings": dict(about["settings"])}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"STUDY must be a study folder of sweeper, got a damaged {path}") from None


def _so_far(study: Path, about: dict[str, Any]) -> StudyResult:
    """From the runs alone: every finished one is read and judged again."""
    ended, open_runs = _jobs(study)
    settings = about["settings"]
    named = {k: v for k, v in settings.items() if v not in (None, 0, False)}
    first = [job for job, _ in ended if not job.fix.changes and job.seed == 0]
    base = StudyResult(
        verdict="inconclusive", verdict_reason="nothing is known of the program yet",
        program=_program(about, [job for job, _ in ended]), facts=Facts(), settings=named,
        diagnosis=Diagnosis(findings=(), hypotheses=()),
        unfinished="This study is not finished: no run of the unchanged program has ended, "
        f"{open_runs} are under way or were cut off.",
    )  # fmt: skip
    if not first:
        return base
    job = max(first, key=lambda j: j.max_steps or 10**12)
    outcome = next(o for j, o in ended if j is job)
    try:
        baseline = run_baseline(job.program, study, lambda _: outcome, steps=job.max_steps)
    except ProgramCrashed as error:
        lines = str(error).splitlines()
        return replace(
            base, verdict="crashed", verdict_reason=lines[0], notes=tuple(lines[-1:]), unfinished=""
        )
    except SweeperError as error:
        return replace(base, verdict_reason=str(error))
    trials = _trials(study, ended, job, baseline)
    return _result(base, baseline, trials, settings, open_runs)


def _jobs(study: Path) -> tuple[list[tuple[Job, Outcome]], int]:
    """Ended runs in the order in which they ended, and how many others have a folder."""
    ended: list[tuple[float, Job, Outcome]] = []
    others = 0
    for path in sorted((study / "runs").glob(f"*/{JOB}")):
        outcome = finished(path.parent)
        if outcome is None:
            others += 1
            continue
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            job = replace(read_job(path), folder=path.parent)  # the study may have been moved
            ended.append(((path.parent / "outcome.json").stat().st_mtime, job, outcome))
    ended.sort(key=lambda item: (item[0], item[1].folder.name))
    return [(job, outcome) for _, job, outcome in ended], others


def _program(about: dict[str, Any], jobs: Sequence[Job]) -> Program:
    if jobs:
        return jobs[0].program
    path = Path(about["source"])
    return Program(
        kind="script", name=about["program"], path=path, target=str(path), cwd=path.parent
    )


def _trials(
    study: Path, ended: Sequence[tuple[Job, Outcome]], first: Job, baseline: Baseline
) -> list[Trial]:
    """Each run judged by itself, then held against the best of its kind."""
    phases = told_phases(study / "journal.log")
    trials = [baseline.trial]
    for job, outcome in ended:
        if job is first:
            continue
        phase = phases.get(job.folder.name)
        if phase is None or job.seed:
            phase = "verification" if job.seed >= FIRST_SEED else "control"
            phase = "elimination" if job.seed == 0 else phase
        with contextlib.suppress(SweeperError, OSError, ValueError, KeyError):
            trials.append(trial_of(job, outcome, phase, len(trials)))  # type: ignore[arg-type]
    for proving in (False, True):
        own = [t for t in trials if (t.phase == "verification") == proving]
        skills = [t.judgement.skill for t in own if t.judgement and not t.not_applied]
        best = max((s for s in skills if s == s), default=None)
        trials = [held_against(t, best) if t in own else t for t in trials]
    return trials


def _result(
    base: StudyResult,
    baseline: Baseline,
    trials: Sequence[Trial],
    settings: dict[str, Any],
    open_runs: int,
) -> StudyResult:
    faults = code_faults(baseline.diagnosis.hypotheses)
    fixes = tuple(rank(replace(f, repairs=repaired(f, faults)) for f in _fixes(trials)))
    known = replace(
        base, facts=baseline.facts, diagnosis=baseline.diagnosis, fixes=fixes,
        trials=tuple(trials), unfinished="",
        remedies=remedy_rows([t for t in trials if t.phase in SEARCHING], fixes),
        cost={"runs": len(trials), "training_steps": sum(t.outcome.steps for t in trials)},
        seeds=tuple(sorted({t.seed for t in trials if t.phase == "verification"})),
        versions=dict(baseline.trial.outcome.versions),
        containment=baseline.trial.outcome.containment,
    )  # fmt: skip
    if not baseline.diagnosis.failing:
        return replace(
            known, verdict="healthy", verdict_reason="no critical finding in the whole run"
        )
    critical = "; ".join(f.symptom for f in baseline.diagnosis.findings if f.critical)
    if "space" not in settings:  # only `check` was here
        return replace(known, verdict="failing", verdict_reason=critical)
    with contextlib.suppress(UsageError):  # a space file that has gone
        _, refused = load_space(settings["space"]).applicable(baseline.facts)
        known = replace(known, not_applicable=refused)
    best = fixes[0] if fixes else None
    proof = (
        f"; {best.fix.label} restored {best.restored} of {best.seeds} fresh seeds so far"
        if best
        else ""
    )
    return replace(
        known,
        verdict_reason=f"failing ({critical}){proof}",
        unfinished=f"This study is not finished: {len(trials)} runs have ended"
        + (f", {open_runs} are under way or were cut off" if open_runs else "")
        + "; the same command goes on from here, and until it ends nothing is called verified.",
    )


def _fixes(trials: Sequence[Trial]) -> tuple[VerifiedFix, ...]:
    """The evidence on fresh seeds so far. How many seeds were asked for is not known, so nothing is
    verified."""
    proving = [t for t in trials if t.phase == "verification"]
    controls = {t.seed: t for t in proving if not t.fix.changes}
    rule = Rule(seeds=max((t.seed for t in proving), default=FIRST_SEED) - FIRST_SEED + 1)
    found = []
    for fix in {t.fix.hash: t.fix for t in proving if t.fix.changes}.values():
        evidence = Verification(fix, rule, controls)
        for trial in proving:
            evidence.tell(trial)
        found.append(replace(evidence.result(), verified=False))
    return tuple(found)
