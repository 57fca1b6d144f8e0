"""W&B's own record of a run (``run-ID.wandb``), as offline mode leaves it; the package is not
needed.

The file is a log of LevelDB: blocks of 32 KiB with fragments (checksum, length, kind), which are
put together into protocol buffers. Of those, only the history is read: numbers of fields from
wandb_internal.proto (Record.history = 2, HistoryRecord.item = 1, HistoryItem.key = 1,
nested_key = 2, value_json = 16).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sweeper.telemetry.foreign.json_rows import DECODER, Rows
from sweeper.telemetry.foreign.table import Table, TableBuilder
from sweeper.types import UsageError

MAGIC = b":W&B"
HEADER = 7
"""Bytes before the first block, and of a fragment's head."""
BLOCK = 32768
LARGEST = 1 << 24
"""Bytes of a record; a longer one is none."""
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
HISTORY, ITEM, KEY, NESTED_KEY, VALUE = 2, 1, 1, 2, 16


class _Damaged(Exception):
    """The rest of the file, or a record, cannot be read."""


def read_wandb(path: Path, asked: Mapping[str, str]) -> Table:
    """The history of a run as a table.

    Raises:
        UsageError: no row of a history can be read.
    """
    builder = TableBuilder(asked)
    rows = Rows(builder)
    try:
        with path.open("rb") as file:
            for record in _records(file):
                rows.add(_history(record))
    except _Damaged as damage:
        builder.notes.append(f"the file ends in a record that is torn or damaged ({damage})")
    except OSError as error:
        raise UsageError(f"LOG must be readable, got {path}: {error.strerror}") from None
    rows.flush()
    if not builder.n_rows:
        why = f" ({builder.notes[0]})" if builder.notes else ""
        raise UsageError(f"a W&B record must hold a history of numbers, got none in {path}{why}")
    return builder.finish("W&B offline record")


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Whole records; raises `_Damaged` where the file stops making sense."""
    file.seek(HEADER)
    place, record = HEADER, b""
    while True:
        left = BLOCK - place % BLOCK
        if left < HEADER:
            file.seek(left, 1)
            place += left
        head = file.read(HEADER)
        if not head:
            return
        if len(head) < HEADER:
            raise _Damaged(f"byte {place}")
        checksum, length, kind = struct.unpack("<IHB", head)
        part = file.read(length)
        if (
            len(part) < length
            or zlib.crc32(head[6:] + part) != checksum
            or not FULL <= kind <= LAST
        ):
            raise _Damaged(f"byte {place}")
        place += HEADER + length
        record = part if kind in (FULL, FIRST) else record + part
        if len(record) > LARGEST:
            raise _Damaged(f"byte {place}")
        if kind in (FULL, LAST):
            yield record


def _history(record: bytes) -> dict[str, Any]:
    """One row: name -> value; empty for records of another kind."""
    row: dict[str, Any] = {}
    for number, content in _fields(record):
        if number != HISTORY:
            continue
        for item, data in _fields(content):
            if item != ITEM:
                continue
            names: list[str] = []
            value = b""
            for part, text in _fields(data):
                if part in (KEY, NESTED_KEY):
                    names.append(text.decode("utf-8", "replace"))
                elif part == VALUE:
                    value = text
            try:
                row["/".join(names)] = DECODER.decode(value.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue
    return row


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the fields of a message that hold bytes; the others are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            _, at = _varint(message, at)
        elif kind == BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise _Damaged("a field longer than its message")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise _Damaged(f"a field of the unknown kind {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Damaged("a number without an end")
