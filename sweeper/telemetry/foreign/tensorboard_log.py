"""TensorBoard event files, read by the `tensorboard` package (extra ``sweeper[tensorboard]``).

A crashed run leaves a torn last record, a damaged one a wrong checksum: what comes before is read,
what is lost is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sweeper.telemetry.foreign.table import Table, TableBuilder, rows_to_block
from sweeper.types import UsageError

BLOCK = 8192
"""Values put into the table at once."""
FRAME = 16
"""Bytes around a record: length, its checksum, the data's checksum."""


def is_event_file(path: Path, head: bytes) -> bool:
    """By TensorBoard's own rule (the name), or by the record that begins every file."""
    return "tfevents" in path.name or b"brain.Event:" in head[:64]


def read_tensorboard(files: Sequence[tuple[str, Path]], asked: Mapping[str, str]) -> Table:
    """Event files, each with the run it belongs to, as a table of one value a row.

    Raises:
        UsageError: the package is missing, or no file holds a scalar.
    """
    builder = TableBuilder(asked)
    step = builder.column("step")
    time = builder.column("wall time")
    damaged: list[str] = []
    for run, path in files:
        read = 0
        rows = _rows(builder, run, path, (step, time))
        while block := list(islice(rows, BLOCK)):
            read += sum(size for size, _ in block)
            if kept := [row for _, row in block if row]:
                builder.add(*rows_to_block(builder, kept))
        lost = path.stat().st_size - read
        if lost > 0:
            damaged.append(f"{path.name}: {lost} bytes from byte {read} on")
    if not builder.n_rows:
        where = damaged[0] if damaged else f"{files[0][1]}"
        raise UsageError(f"event files must hold scalars, got none ({where})")
    if damaged:
        builder.notes.append(
            f"{len(damaged)} event files end in a record that is torn or damaged, which was left"
            f" out ({damaged[0]})"
        )
    return builder.finish("TensorBoard event files", by_step=True)


def _rows(
    builder: TableBuilder, run: str, path: Path, axes: tuple[int | None, int | None]
) -> Iterator[tuple[int, dict[int, float]]]:
    """Bytes of a record (0 for its further values), and a value with its step and time."""
    event_class, make_array, records = _library(path)
    step, time = axes
    for record in records:
        size = len(record) + FRAME
        try:
            event = event_class.FromString(record)
        except Exception as error:  # protobuf's DecodeError, which differs between its builds
            builder.notes.append(f"a record of {path.name} is no event: {error}"[:200])
            yield size, {}
            continue
        for value in event.summary.value:
            column = builder.column(value.tag, run)
            if column is None:
                continue
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                number = value.simple_value
            elif kind == "tensor" and not value.tensor.string_val:
                array = make_array(value.tensor)
                if array.size != 1:
                    continue
                number = float(array.reshape(())[()])
            else:
                continue
            row = {column: float(number)}
            if step is not None:
                row[step] = float(event.step)
            if time is not None:
                row[time] = event.wall_time
            yield size, row
            size = 0
        if size:
            yield size, {}


def _library(path: Path) -> tuple[Any, Any, Iterator[bytes]]:
    try:
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise UsageError(
            "TensorBoard event files need the `tensorboard` package, got"
            f" {error}: pip install 'sweeper[tensorboard]' ({path})"
        ) from None
    return Event, make_ndarray, _records(RawEventFileLoader(str(path)), path)


def _records(loader: Any, path: Path) -> Iterator[bytes]:
    try:
        yield from loader.Load()
    except (MemoryError, OverflowError):
        return  # a length that no file can hold: the record is damaged
    except OSError as error:
        raise UsageError(f"LOG must be readable, got {path}: {error.strerror}") from None
