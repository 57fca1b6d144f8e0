"""`sweeper status STUDY`: what a study is doing, read by another process than its driver."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.execution.jobs import JOB, finished, log_tail, read_job, unfinished, write_json
from sweeper.execution.lock import LOCK
from sweeper.execution.pulse import read_pulse
from sweeper.study import FILE as STUDY_FILE
from sweeper.types import Job, Trial, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sweeper.options import Options
    from sweeper.report.terminal import Progress

FILE = "status.json"
SCHEMA = 1
SEARCHING = ("screening", "joint")
"""Phases whose trials ``--trials`` counts."""


class StatusFile:
    """A `Progress` that keeps ``status.json`` in the study folder and passes everything on.

    A disk that takes no more does not stop a study here: what must be kept is kept elsewhere.
    """

    def __init__(self, told: Progress, study: Path, clock: Callable[[], float] = time.time) -> None:
        self._told = told
        self._path = study / FILE
        self._clock = clock
        self._state: dict[str, Any] = {
            "schema": SCHEMA, "started": clock(), "phase": "starting", "runs": 0, "steps": 0,
            "restored": [], "best": None, "message": "", "searched": 0, "search_started": clock(),
        }  # fmt: skip

    def phase(self, name: str) -> None:
        self._told.phase(name)
        if name != self._state["phase"]:
            first = name in SEARCHING and self._state["phase"] not in SEARCHING
            started = self._clock() if first else self._state["search_started"]
            self._write(phase=name, search_started=started)

    def trial_started(self, label: str) -> None:
        self._told.trial_started(label)

    def trial_done(self, trial: Trial) -> None:
        self._told.trial_done(trial)
        state = self._state
        state["runs"] += 1
        state["steps"] += trial.outcome.steps
        state["searched"] += trial.phase in SEARCHING
        judgement = trial.judgement
        if trial.fix.changes and judgement is not None and not trial.not_applied:
            if judgement.restored and trial.fix.label not in state["restored"]:
                state["restored"].append(trial.fix.label)
            if state["best"] is None or judgement.score > state["best"]["score"]:
                state["best"] = {
                    "fix": trial.fix.label, "score": judgement.score,
                    "metric": judgement.metric_name, "value": judgement.metric,
                    "restored": judgement.restored, "folder": trial.folder.name,
                }  # fmt: skip
        self._write()

    def message(self, text: str) -> None:
        self._told.message(text)
        self._write(message=text)

    @property
    def state(self) -> Mapping[str, Any]:
        """What ``status.json`` holds."""
        return self._state

    def _write(self, **changes: Any) -> None:
        self._state |= changes
        try:
            write_json(self._path, {**self._state, "written": self._clock()})
        except OSError:
            pass


class Running:
    """The runs of this driver that are under way, looked for at most once in ``SECONDS``."""

    SECONDS = 0.5

    def __init__(self, study: Path, clock: Callable[[], float] = time.time) -> None:
        self._runs = study / "runs"
        self._clock = clock
        self._since = clock()
        self._looked = -math.inf
        self._over: set[str] = set()
        self._found: list[tuple[str, Path]] = []

    def now(self) -> list[tuple[str, Path]]:
        """What each is, in words, and its folder."""
        if self._clock() - self._looked >= self.SECONDS:
            self._looked = self._clock()
            self._found = sorted(self._look(), key=lambda item: item[1])
        return self._found

    def _look(self) -> Iterator[tuple[str, Path]]:
        try:
            names = [name for name in os.listdir(self._runs) if name not in self._over]
        except OSError:
            return
        for name in names:
            folder = self._runs / name
            try:
                asked = (folder / JOB).stat().st_mtime
                if finished(folder) is not None:
                    self._over.add(name)
                elif asked >= self._since - 1.0:  # else a driver before this one left it
                    yield _running(read_job(folder / JOB)), folder
            except (OSError, ValueError, KeyError, TypeError):
                continue  # it is being made at this moment


class LiveView:
    """What a terminal shows below the moving line of a study: the best fix, the time left, and each
    run under way with its steps."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        self._options, self._clock = options, clock
        self._running = Running(options.study, clock)
        self._told: StatusFile | None = None

    def of(self, told: StatusFile) -> StatusFile:
        """``told`` knows what has been made so far."""
        self._told = told
        return told

    def lines(self) -> Iterator[RenderableType]:
        from rich.text import Text

        for line in self.texts():
            yield Text(line, no_wrap=True, overflow="ellipsis")

    def texts(self) -> Iterator[str]:
        if self._told is None:
            return
        state = self._told.state
        if best := _best(state):
            yield f"  best so far: {best}"
        if left := self._left(state):
            yield f"  {left}"
        for text, _ in self._running.now():
            yield f"  running {text}"

    def _left(self, state: Mapping[str, Any]) -> str:
        """The budget's, and what the search takes at its present pace."""
        spent = self._clock() - state["started"]
        parts = []
        if self._options.budget is not None:
            parts.append(f"{_seconds(max(0.0, self._options.budget - spent))} of the budget left")
        searched, over = state["searched"], self._options.trials
        if searched and searched < over:
            seconds = (over - searched) * (self._clock() - state["search_started"]) / searched
            parts.append(f"{over - searched} trials to go, about {_seconds(seconds)}")
        return ", ".join(parts)


def _best(state: Mapping[str, Any]) -> str:
    best = state.get("best")
    if not best:
        return ""
    value = best["value"]
    shown = f"{value:.4g}" if isinstance(value, (int, float)) else value
    return f"{best['fix']}, {best['metric']} {shown}" + (", restored" * bool(best.get("restored")))


def status_lines(study: Path, *, tail: bool = False) -> Iterator[str]:
    """What to print; ``tail`` adds the last lines that each running program printed.

    Raises:
        UsageError: not a study folder, or one of a newer version.
    """
    about = _read(study / STUDY_FILE)
    if not about:
        raise UsageError(f"STUDY must be a folder that sweeper made, got {study}")
    state = _read(study / FILE)
    if state.get("schema", SCHEMA) > SCHEMA:
        raise UsageError(
            f"{study / FILE} must have schema <= {SCHEMA}, got {state['schema']}: "
            f"written by a newer sweeper"
        )
    driver = _driver(study)
    yield f"{about.get('program')}: {driver or 'no driver is at work'}"
    if state:
        since = _seconds(float(state["written"]) - float(state["started"]))
        yield f"phase: {state['phase']}, {since} after the start" + (
            "" if driver else " (when it was last heard of)"
        )
        yield f"runs: {state['runs']} ended, {state['steps']:,} training steps"
        if state["restored"]:
            yield f"restored so far: {'; '.join(state['restored'])}"
        if best := _best(state):
            yield f"best so far: {best} (runs/{state['best']['folder']})"
    if driver:
        for job in unfinished(study):
            yield f"running: {_running(job)}"
            if tail:
                yield from (f"    {line}" for line in log_tail(job.folder).splitlines()[-5:])
    if (study / "report" / "verdict.json").is_file():
        yield f"report: {study / 'report'}"


def _running(job: Job) -> str:
    label = f"{job.fix.label}, seed {job.seed}"
    beat = read_pulse(job.folder)
    if beat is None or beat.steps == 0:
        return f"{label}: before its first step"
    pace = beat.steps / max(beat.last - beat.started, 1e-9)
    length = job.max_steps or job.planned_steps
    text = f"{label}: step {beat.steps:,}" + (f" of {length:,}" if length else "")
    text += f", {pace:.3g} steps/s"
    if length:
        text += f", about {_seconds(max(0, length - beat.steps) / pace)} left"
    return text


def _driver(study: Path) -> str:
    """Who holds the study, or the empty string; a holder on another host is taken at its word."""
    holder = _read(study / LOCK)
    try:
        pid, host = int(holder["pid"]), str(holder["host"])
    except (KeyError, TypeError, ValueError):
        return ""
    if host == socket.gethostname():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
    return f"driven by process {pid} on {host} since {holder.get('since')}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(value: float) -> str:
    if not math.isfinite(value):
        return "an unknown time"
    if value < 90:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"
