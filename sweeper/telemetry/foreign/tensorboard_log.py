"""TensorBoard event files, read by the `tensorboard` package (extra ``sweeper[tensorboard]``).

A crashed run leaves a torn last record, a damaged one a wrong checksum: what comes before is read,
what is lost is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweeper.telemetry.foreign.table import Table, TableBuilder
from sweeper.telemetry.foreign.tfrecord import FRAME, records
from sweeper.types import UsageError

BLOCK = 8192
"""Values put into the table at once."""


def is_event_file(path: Path, head: bytes) -> bool:
    """By TensorBoard's own rule (the name), or by the record that begins every file."""
    return "tfevents" in path.name or b"brain.Event:" in head[:64]


def read_tensorboard(files: Sequence[tuple[str, Path]], asked: Mapping[str, str]) -> Table:
    """Event files, each with the run it belongs to, as a table of one value a row.

    Raises:
        UsageError: the package is missing, or no file holds a scalar.
    """
    builder = TableBuilder(asked)
    block = _Block(builder)
    damaged: list[str] = []
    for run, path in files:
        read = _read_file(block, run, path)
        lost = path.stat().st_size - read
        if lost > 0:
            damaged.append(f"{path.name}: {lost} bytes from byte {read} on")
    block.flush()
    if not builder.n_rows:
        where = damaged[0] if damaged else f"{files[0][1]}"
        raise UsageError(f"event files must hold scalars, got none ({where})")
    if damaged:
        builder.notes.append(
            f"{len(damaged)} event files end in a record that is torn or damaged, which was left"
            f" out ({damaged[0]})"
        )
    return builder.finish("TensorBoard event files", by_step=True)


class _Block:
    """Values on their way to the table: column, value, step and time, one list each."""

    def __init__(self, builder: TableBuilder) -> None:
        self.builder = builder
        self.step, self.time = builder.column("step"), builder.column("wall time")
        self.columns: list[int] = []
        self.values: list[float] = []
        self.steps: list[int] = []
        self.times: list[float] = []

    def flush(self) -> None:
        n = len(self.columns)
        if not n:
            return
        values = np.full((n, len(self.builder.columns)), np.nan)
        for axis, found in ((self.step, self.steps), (self.time, self.times)):
            if axis is not None:
                values[:, axis] = found
        given = ~np.isnan(values)
        rows = np.arange(n)
        values[rows, self.columns] = self.values
        given[rows, self.columns] = True
        self.builder.add(values, given)
        for column in (self.columns, self.values, self.steps, self.times):
            column.clear()


def _read_file(block: _Block, run: str, path: Path) -> int:
    """Put the scalars of a file into the block; bytes that could be read."""
    event_class, make_array = _library(path)
    builder, read, odd = block.builder, 0, 0
    columns: dict[str, int | None] = {}
    for record in _records(path):
        read += len(record) + FRAME
        try:
            event = event_class.FromString(record)
        except Exception:  # protobuf's DecodeError, which differs between its builds
            odd += 1
            continue
        for value in event.summary.value:
            tag = value.tag
            if tag not in columns:
                columns[tag] = builder.column(tag, run)
            column = columns[tag]
            if column is None:
                continue
            number = _number(value, make_array)
            if number is None:
                continue
            block.columns.append(column)
            block.values.append(number)
            block.steps.append(event.step)
            block.times.append(event.wall_time)
        if len(block.columns) >= BLOCK:
            block.flush()
    if odd:
        builder.notes.append(f"{odd} records of {path.name} are no events: left out")
    return read


def _number(value: Any, make_array: Any) -> float | None:
    """The number of a scalar summary, old (simple_value) or new (a tensor of one element)."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.tensor.string_val:
        return None
    try:
        array = make_array(value.tensor)
        return float(array.reshape(())[()]) if array.size == 1 else None
    except (TypeError, ValueError):
        return None


def _library(path: Path) -> tuple[Any, Any]:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise UsageError(
            "TensorBoard event files need the `tensorboard` package, got"
            f" {error}: pip install 'sweeper[tensorboard]' ({path})"
        ) from None
    return Event, make_ndarray


def _records(path: Path) -> Iterator[bytes]:
    try:
        yield from records(path)
    except OSError as error:
        raise UsageError(f"LOG must be readable, got {path}: {error.strerror}") from None
