"""``sweeper check LOG``: a foreign log -> findings and causes, without running anything."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sweeper.diagnosis import diagnose
from sweeper.report.study_result import StudyResult
from sweeper.telemetry.foreign import (
    ForeignLog,
    ForeignRun,
    Hints,
    is_log,
    parse_columns,
    read_log,
)
from sweeper.types import Diagnosis, Finding, Hypothesis, Program, RunRecord, UsageError

STEP_KEYS = ("first_step", "peak_step", "last_sound_step")
"""Evidence that holds the number of a row."""
BELIEVED = 0.5
"""Belief from which a cause is worth following without a look at the program."""
UNEXPLAINED = (
    "these signals show that it fails, hardly why: `sweeper check` of the program itself also sees"
    " its model, its updates and its data"
)
LARGEST = 10**15
"""Step numbers beyond this are no counts."""
MOST_NAMED = 20
"""Runs named in the notes."""


@dataclass(frozen=True)
class _Checked:
    run: ForeignRun
    diagnosis: Diagnosis

    @property
    def severity(self) -> float:
        return max((f.severity for f in self.diagnosis.findings), default=0.0)


@dataclass(frozen=True, kw_only=True)
class LogRequest:
    """What the command line says about a log."""

    path: Path
    columns: Mapping[str, str]
    hints: Hints

    @classmethod
    def of(
        cls, words: Sequence[str], *, columns: str | None, classes: int | None, task: str | None
    ) -> LogRequest | None:
        """None when the words name a program.

        Raises:
            UsageError: words behind the log, an option of logs for a program, a bad option.
        """
        path = Path(words[0]) if words and words[0] != "-m" else None
        said = {"--columns": columns, "--classes": classes, "--task": task}
        if path is None or not is_log(path):
            for option, value in said.items():
                if value is not None:
                    raise UsageError(f"{option} is for logs, got it with {' '.join(words)!r}")
            return None
        if len(words) > 1:
            raise UsageError(
                "`sweeper check` reads one LOG, and options come before it, got"
                f" {words[1]!r} behind {words[0]!r}"
            )
        if classes == 1:
            raise UsageError("--classes must be at least 2, got 1")
        return cls(
            path=path,
            columns=parse_columns(columns) if columns is not None else {},
            hints=Hints(classes=classes or 0, task=task),  # type: ignore[arg-type]
        )


def check_log(request: LogRequest) -> StudyResult:
    """Diagnose every run of a log; the result is that of the run with the worst finding.

    Raises:
        UsageError: the path is no log that can be read.
    """
    started, path = time.monotonic(), request.path
    log = read_log(path, request.columns, request.hints)
    checked = [_Checked(run, in_log_steps(diagnose(run.record), run.record)) for run in log.runs]
    worst = max(checked, key=lambda c: c.severity)
    failing = worst.diagnosis.failing
    return StudyResult(
        verdict="failing" if failing else "healthy",
        verdict_reason=_reason(worst.diagnosis),
        program=Program(
            kind="script", name=path.name or str(path), path=path.absolute(), target=str(path),
            cwd=Path.cwd(),
        ),
        facts=worst.run.record.facts,
        diagnosis=worst.diagnosis,
        cost={"runs": 0, "training_steps": 0, "wall_seconds": round(time.monotonic() - started, 1)},
        notes=(*_about_runs(checked, worst), *_about_causes(worst.diagnosis), *worst.run.notes),
        log=_description(log, worst, checked),
    )  # fmt: skip


def in_log_steps(diagnosis: Diagnosis, record: RunRecord) -> Diagnosis:
    """Findings and causes of a foreign record with the log's own step numbers.

    Detectors count rows; in a log every row has a step or epoch of its own.
    """
    step = record.series("step")
    unit = "epoch" if record.rows == "epochs" else "step"
    last = len(step) - 1

    def number(row: float) -> int:
        return int(np.clip(step[min(max(int(row), 0), last)], -LARGEST, LARGEST))

    def text(words: str) -> str:
        words = re.sub(r"\bstep (\d+)", lambda m: f"{unit} {number(int(m[1]))}", words)
        return re.sub(r"\b(\d+) steps\b", r"\1 logged rows", words)

    def evidence(values: Mapping[str, Any]) -> dict[str, Any]:
        return {k: number(v) if k in STEP_KEYS else v for k, v in values.items()}

    def finding(one: Finding) -> Finding:
        return replace(
            one, steps=(number(one.steps[0]), number(one.steps[1])), reason=text(one.reason),
            evidence=evidence(one.evidence),
        )  # fmt: skip

    def hypothesis(one: Hypothesis) -> Hypothesis:
        return replace(one, reason=text(one.reason), evidence=evidence(one.evidence))

    return Diagnosis(
        findings=tuple(finding(f) for f in diagnosis.findings),
        hypotheses=tuple(hypothesis(h) for h in diagnosis.hypotheses),
        insufficient={k: text(v) for k, v in diagnosis.insufficient.items()},
    )


def _reason(diagnosis: Diagnosis) -> str:
    if diagnosis.failing:
        return "; ".join(f.symptom for f in diagnosis.findings if f.critical)
    lacking = len(diagnosis.insufficient)
    return "no critical finding" + (
        f"; {lacking} detectors had too little data, see below" if lacking else ""
    )


def _about_causes(diagnosis: Diagnosis) -> list[str]:
    belief = max((h.belief for h in diagnosis.hypotheses), default=0.0)
    if not diagnosis.failing or belief >= BELIEVED:
        return []
    return [UNEXPLAINED]


def _about_runs(checked: list[_Checked], worst: _Checked) -> list[str]:
    if len(checked) == 1:
        return []
    named = [
        f"{c.run.name or 'the first'}: {'failing' if c.diagnosis.failing else 'healthy'}"
        for c in checked[:MOST_NAMED]
    ]
    more = f" and {len(checked) - MOST_NAMED} more" if len(checked) > MOST_NAMED else ""
    shown = worst.run.name or "the first"
    failing = sum(c.diagnosis.failing for c in checked)
    return [f"{len(checked)} runs, {failing} failing ({', '.join(named)}{more}); shown is {shown}"]


def _description(log: ForeignLog, worst: _Checked, checked: list[_Checked]) -> dict[str, Any]:
    """What stands for the program in ``verdict.json``."""
    run = worst.run
    return {
        "kind": "log",
        "name": log.path.name or str(log.path),
        "path": str(log.path.absolute()),
        "target": str(log.path),
        "argv": [],
        "identity": _identity(log.path),
        "format": log.form,
        "rows": log.n_rows,
        "run": run.name,
        "runs": {c.run.name: "failing" if c.diagnosis.failing else "healthy" for c in checked},
        "columns": dict(run.columns),
        "points": dict(run.points),
        "not_read": list(log.others[:200]),
    }


def _identity(path: Path) -> str:
    """12 hex digits over the content; of a folder, over names and sizes of what is in it."""
    if path.is_dir():
        names = sorted(
            f"{p.relative_to(path)} {p.stat().st_size}" for p in path.rglob("*") if p.is_file()
        )
        return hashlib.sha256("\n".join(names).encode(errors="replace")).hexdigest()[:12]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
