"""Logs made by hand: a sound course, a flat one, and ways to write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweeper.logs import LogRequest, check_log
from sweeper.report.study_result import StudyResult
from sweeper.telemetry.foreign import ForeignRun, Hints, parse_columns, read_log

Floats = NDArray[np.float64]


def falling(n: int = 200, start: float = 2.3, end: float = 0.3, noise: float = 0.03) -> Floats:
    rng = np.random.default_rng(0)
    course = end + (start - end) * np.exp(-np.arange(n) / (n / 8))
    return np.asarray(course * (1 + noise * rng.standard_normal(n)))


def flat(level: float = 2.303, n: int = 200, noise: float = 0.003) -> Floats:
    rng = np.random.default_rng(1)
    return np.asarray(level * (1 + noise * rng.standard_normal(n)))


def csv_text(columns: Mapping[str, Sequence[object] | Floats], delimiter: str = ",") -> str:
    rows = [delimiter.join(columns)]
    rows += [
        delimiter.join("" if v is None else str(v) for v in row)
        for row in zip(*columns.values(), strict=True)
    ]
    return "\n".join(rows) + "\n"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, columns: str = "", **hints: object) -> ForeignRun:
    """The only run of a log."""
    log = read_log(path, parse_columns(columns) if columns else {}, Hints(**hints))  # type: ignore[arg-type]
    assert len(log.runs) == 1, [run.name for run in log.runs]
    return log.runs[0]


def check(path: Path, columns: str | None = None, **hints: object) -> StudyResult:
    request = LogRequest.of(
        [str(path)], columns=columns, classes=hints.get("classes"), task=hints.get("task"),  # type: ignore[arg-type]
    )  # fmt: skip
    assert request is not None
    return check_log(request)


def critical(result: StudyResult) -> set[str]:
    return {f.symptom.value for f in result.diagnosis.findings if f.critical}
