"""`sweeper nightly LIST`: look at every program and log, fix what broke, keep a history, write the
index page.

A night asks as little as it can. A program that trains costs one run. One whose source, arguments
and losses are those of an earlier night keeps that night's result. One that fails as before under
other losses (new data) has its known fix put to the proof; only where that no longer holds, or
where there is none, a search is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper.execution.lock import StudyLock
from sweeper.logs import LogRequest, check_log
from sweeper.nightly_history import History
from sweeper.nightly_list import Entry, LogEntry, NightlyList
from sweeper.options import Options
from sweeper.remediate import check, confirm, remediate
from sweeper.report.files import write_report
from sweeper.report.nightly_page import index_text, write_index
from sweeper.report.nightly_result import Found, Line, Night
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import rank
from sweeper.report.terminal import Progress
from sweeper.telemetry.record import read_record
from sweeper.types import Fix, ProgramCrashed, SweeperError, UsageError

HISTORY = "history.sqlite"
INDEX = "index.html"
KEPT_NIGHTS = 14
"""Study folders of so many nights are kept, and older ones that a present result stands on."""
ACCEPTED = ("fixed", "improved", "not_fixable", "inconclusive")


@dataclass(frozen=True, kw_only=True)
class Nightly:
    """What one night came to."""

    lines: tuple[Line, ...]
    """Most urgent first."""
    changes: tuple[str, ...]
    """What differs from the night before, as sentences."""
    page: Path

    @property
    def failing(self) -> bool:
        return any(line.found.failing for line in self.lines)


def nightly(
    names: NightlyList,
    progress: Progress,
    *,
    options: Callable[[Entry, Path], Options] | None = None,
    clock: Callable[[], float] = time.time,
) -> Nightly:
    """One night over the whole list.

    A night that was cut off goes on where it was: what it found is kept, and half a study is
    continued. ``options`` makes the options of a program's study in a folder.

    Raises:
        UsageError: another process is at work on this list, or its history cannot be read.
        KeyboardInterrupt: the person ended it; the next call goes on.
    """
    state = names.state
    make = options or default_options
    digest = hashlib.sha256(names.path.read_bytes()).hexdigest()
    state.mkdir(parents=True, exist_ok=True)
    with StudyLock(state), History(state / HISTORY) as history:
        night = history.begin(digest, clock())
        done = history.of_night(night)
        for name, look in _items(names, history, night, make, progress):
            if name not in done:
                progress.message(f"--- {name}")
                history.add(night, look())
                write_index(state / INDEX, index_text(names.title, _lines(history, names), night))
        history.finish(night, clock())
        lines = _lines(history, names)
        write_index(state / INDEX, index_text(names.title, lines, night))
        _prune(history, state)
        return Nightly(lines=lines, changes=tuple(_changes(lines)), page=state / INDEX)


def default_options(entry: Entry, study: Path) -> Options:
    """The list's settings, everything else as `sweeper fix` has it."""
    return Options(
        program=entry.program, study=study, space=entry.space, budget=entry.budget,
        trials=entry.trials, steps=entry.steps, seeds=entry.seeds,
        allow_side_effects=entry.allow_side_effects,
    )  # fmt: skip


def _items(
    names: NightlyList,
    history: History,
    night: Night,
    make: Callable[[Entry, Path], Options],
    progress: Progress,
) -> Iterator[tuple[str, Callable[[], Found]]]:
    for entry in names.programs:
        study = names.state / "studies" / slug(entry.name) / f"{night.id:04d}"
        before = history.before(night, entry.name)
        yield (
            entry.name,
            lambda e=entry, s=study, b=before: _program(  # type: ignore[misc]
                e, make(e, s), b, names.state, progress
            ),
        )
    for log in names.logs:
        paths = sorted(p for p in names.path.parent.glob(log.glob) if p.is_file() or p.is_dir())
        for path in paths:
            name = f"{log.name}: {path.relative_to(names.path.parent)}"
            before = history.before(night, name)
            yield name, lambda n=name, p=path, e=log, b=before: _log(n, p, e, b)  # type: ignore[misc]


def _program(
    entry: Entry, options: Options, before: Found | None, state: Path, progress: Progress
) -> Found:
    """One program: as little as answers the question."""
    began = time.monotonic()
    identity = entry.program.identity
    if entry.refused:
        return _failed(entry.name, identity, "refused", UsageError(entry.refused), began)
    try:
        result = check(options, progress)
        _unless_interrupted(result)
        digest = fingerprint(result)
        same = before is not None and before.identity == identity
        if before is not None and same and digest == before.digest and _settled(before, state):
            return replace(before, reused=True, holds=None, **_cost(result, began))
        holds = None
        if result.verdict != "healthy":
            if before is not None and before.fix:
                # Its run of the check is found again in the study folder and costs nothing.
                result = confirm(options, Fix(changes=dict(before.fix)), progress)
                _unless_interrupted(result)
                holds = result.verdict == "fixed"
            if not holds:
                result = remediate(options, progress)
                _unless_interrupted(result)
        folder = write_report(result, options.study)
    except ProgramCrashed as error:
        return _failed(entry.name, identity, "crashed", error, began)
    except UsageError as error:
        return _failed(entry.name, identity, "refused", error, began)
    best = next((fix for fix in rank(result.fixes) if fix.verified), None)
    causes = result.diagnosis.hypotheses
    return Found(
        name=entry.name, kind="program", verdict=result.verdict, reason=result.verdict_reason,
        identity=identity, digest=digest, cause=causes[0].cause.value if causes else "",
        fix=dict(best.fix.changes) if best else None, holds=holds,
        metric=best.metric_name if best else _metric_name(result),
        baseline=_finite(_baseline_metric(result)),
        value=_finite(best.metric.value if best else None),
        report=str(folder.relative_to(state)), **_cost(result, began),
    )  # fmt: skip


def _log(name: str, path: Path, entry: LogEntry, before: Found | None) -> Found:
    began = time.monotonic()
    identity = _content(path)
    if before is not None and before.identity == identity:
        return replace(before, reused=True, seconds=round(time.monotonic() - began, 2))
    try:
        request = LogRequest.of(
            [str(path)], columns=entry.columns, classes=entry.classes, task=entry.task
        )
        if request is None:
            raise UsageError(f"a log has a form that is known, got {path}")
        result = check_log(request)
    except SweeperError as error:
        return replace(_failed(name, identity, "refused", error, began), kind="log")
    causes = result.diagnosis.hypotheses
    return Found(
        name=name, kind="log", verdict=result.verdict, reason=result.verdict_reason,
        identity=identity, cause=causes[0].cause.value if causes else "",
        seconds=round(time.monotonic() - began, 2),
    )  # fmt: skip


def fingerprint(result: StudyResult) -> str:
    """Of the losses that the unchanged program made, bit for bit."""
    record = read_record(result.trials[0].folder)
    return hashlib.sha256(record.series("loss").tobytes()).hexdigest()[:16]


def slug(name: str) -> str:
    """A folder's name for any name; different names give different ones."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:40]
    return f"{readable or 'program'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _settled(before: Found, state: Path) -> bool:
    """True for a result that the same losses would give again."""
    if before.verdict == "healthy":
        return True
    return before.verdict in ACCEPTED and (state / before.report).is_dir()


def _failed(name: str, identity: str, verdict: str, error: Exception, began: float) -> Found:
    return Found(
        name=name, kind="program", verdict=verdict, reason=str(error).strip()[:2000],
        identity=identity, seconds=round(time.monotonic() - began, 1),
    )  # fmt: skip


def _cost(result: StudyResult, began: float) -> dict[str, Any]:
    return {
        "runs": int(result.cost["runs"]), "steps": int(result.cost["training_steps"]),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _unless_interrupted(result: StudyResult) -> None:
    if any("interrupted by" in note for note in result.notes):
        raise KeyboardInterrupt


def _baseline_metric(result: StudyResult) -> float | None:
    judgement = result.trials[0].judgement
    return judgement.metric if judgement is not None else None


def _metric_name(result: StudyResult) -> str:
    judgement = result.trials[0].judgement
    return judgement.metric_name if judgement is not None else ""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _content(path: Path) -> str:
    """Of a file's or folder's sizes and times of change: a log of a gigabyte is not read twice."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    parts = [f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _lines(history: History, names: NightlyList) -> tuple[Line, ...]:
    """The newest of every name that the list still has, most urgent first."""
    listed = {entry.name for entry in names.programs}
    prefixes = tuple(f"{log.name}: " for log in names.logs)
    lines = [
        Line(found=past[-1][1], past=tuple(past))
        for name, past in history.by_name().items()
        if name in listed or (past[-1][1].kind == "log" and name.startswith(prefixes))
    ]
    return tuple(sorted(lines, key=lambda line: line.urgency))


def _changes(lines: tuple[Line, ...]) -> Iterator[str]:
    for line in lines:
        found, before = line.found, line.before
        if found.holds is False:
            yield f"{found.name}: the fix of an earlier night no longer holds; now {found.said}"
        elif before is None:
            if found.failing:
                yield f"{found.name}: {found.said} ({found.headline})"
        elif before.verdict != found.verdict:
            yield f"{found.name}: {before.said} before, now {found.said} ({found.headline})"


def _prune(history: History, state: Path) -> None:
    """Remove study folders of old nights on which no present result stands."""
    nights = history.nights()
    kept = {f"{night.id:04d}" for night in nights[-KEPT_NIGHTS:]}
    needed = {(state / found.report).parent for found in history.of_night(nights[-1]).values()}
    for folder in (state / "studies").glob("*/*"):
        if folder.name not in kept and folder not in needed:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
