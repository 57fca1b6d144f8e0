"""Logs of other programs and frameworks -> run records with fewer signals.

`read_log` tells the format by content, guesses the columns (or takes those that were said), puts
the rows in order and hands back one record for each run. One file per format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.telemetry.foreign.choose import check_asked, parse_columns, parts_of
from sweeper.telemetry.foreign.facts import TASKS, Hints
from sweeper.telemetry.foreign.record import ForeignRun, runs_of
from sweeper.telemetry.foreign.sources import is_log, read_tables
from sweeper.types import UsageError

__all__ = [
    "TASKS",
    "ForeignLog",
    "ForeignRun",
    "Hints",
    "is_log",
    "parse_columns",
    "read_log",
]

FEWEST_ROWS = 3
"""Rows below which a log shows no course."""


@dataclass(frozen=True, kw_only=True)
class ForeignLog:
    """Everything that was read from one path."""

    path: Path
    form: str
    """Format for people."""
    runs: tuple[ForeignRun, ...]
    n_rows: int
    others: tuple[str, ...] = field(default=())
    """Columns that were not read."""


def read_log(
    path: Path, columns: Mapping[str, str] | None = None, hints: Hints | None = None
) -> ForeignLog:
    """Read every run of a log.

    Args:
        path: A file, or a folder of a logger.
        columns: Column -> role, as `parse_columns` gives.
        hints: Number of classes and task, where known.

    Raises:
        UsageError: no log, not readable, no measure of training, or too short.
    """
    asked, hints = dict(columns or {}), hints or Hints()
    found: list[ForeignRun] = []
    others: dict[str, None] = {}
    forms: list[str] = []
    n_rows = 0
    for source, table in read_tables(path, asked):
        place = str(path / source) if source else str(path)
        check_asked(asked, table, place)
        forms.append(table.form)
        n_rows += table.n_rows
        others |= dict.fromkeys(table.others)
        for part in parts_of(table, place):
            for run in runs_of(table, part, hints):
                name = "/".join(filter(None, (source, run.name)))
                found.append(
                    ForeignRun(
                        name=name, record=run.record, columns=run.columns, points=run.points,
                        notes=run.notes,
                    )
                )  # fmt: skip
    long_enough = [r for r in found if len(r.record.series("loss")) >= FEWEST_ROWS]
    if not long_enough:
        most = max((len(r.record.series("loss")) for r in found), default=0)
        raise UsageError(f"LOG must have {FEWEST_ROWS} or more rows of a run, got {most} in {path}")
    return ForeignLog(
        path=path, form=forms[0], runs=tuple(long_enough), n_rows=n_rows, others=tuple(others)
    )
