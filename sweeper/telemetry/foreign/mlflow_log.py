"""MLflow's file store: ``metrics/<name>`` files of ``timestamp value step`` lines under each run.

Only files below the given folder are read; addresses in ``meta.yaml`` are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeper.telemetry.foreign.numbers import parse
from sweeper.telemetry.foreign.table import Table, TableBuilder, rows_to_block
from sweeper.telemetry.foreign.text import Lines, opened
from sweeper.types import UsageError

BLOCK = 8192
LINE = re.compile(rb"\d{9,16} \S+( -?\d+)?[ \r]*(\n|$)")
"""A line of a metrics file: milliseconds, value, step (missing in very old stores)."""


def is_metric_file(head: bytes) -> bool:
    return bool(LINE.match(head))


def read_mlflow(files: Sequence[tuple[str, str, Path]], asked: Mapping[str, str]) -> Table:
    """Metric files, each with run and metric name, as a table of one value a row.

    Raises:
        UsageError: no file holds a measure of training.
    """
    builder = TableBuilder(asked)
    step, time = builder.column("step"), builder.column("timestamp")
    assert step is not None and time is not None
    bad, first_bad = 0, ""
    for run, name, path in files:
        column = builder.column(name, run)
        if column is None:
            continue
        pending: list[dict[int, float]] = []
        with opened(path, "utf-8") as file:
            source = Lines(file, path)
            for line in source:
                words = line.split()
                numbers = [parse(w) for w in words[:3]]
                if len(words) not in (2, 3) or None in numbers:
                    bad, first_bad = bad + 1, first_bad or f"{path}:{source.number}"
                    continue
                stamp, value, at = (*numbers, None)[:3]
                row = {column: value, time: stamp} | ({} if at is None else {step: at})
                pending.append(row)  # type: ignore[arg-type]
                if len(pending) >= BLOCK:
                    builder.add(*rows_to_block(builder, pending))
                    pending = []
        if pending:
            builder.add(*rows_to_block(builder, pending))
    if not builder.n_rows:
        names = ", ".join(sorted({name for _, name, _ in files})[:10])
        raise UsageError(
            f"MLflow metrics must hold a loss, an accuracy or a gradient norm, got {names} in"
            f" {files[0][2].parent}"
        )
    if bad:
        builder.notes.append(
            f"{bad} lines are not `timestamp value step`, the first is {first_bad}: left out"
        )
    return builder.finish("MLflow metric files", by_step=True, sequential=False)
