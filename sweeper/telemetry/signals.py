"""``signals.jsonl``: append-only, flushed, versioned; a torn last line is dropped on reading.

Every line is one JSON object with ``k``, its kind: ``header`` (version), ``steps`` (a block of
per-step series, columns by name), ``layers``, ``activations``, ``eval``. Non-finite numbers are the
strings NaN, Infinity and -Infinity, so every line is strict JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from sweeper.types import SweeperError, jsonable

VERSION = 1


class SignalWriter:
    """Appends lines; each `write` reaches the operating system before it returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self.write("header", version=VERSION)

    def write(self, kind: str, **columns: Any) -> None:
        entry = {"k": kind, **{name: _strict(value) for name, value in columns.items()}}
        self._file.write(json.dumps(entry, allow_nan=False, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _strict(column: Any) -> Any:
    """`jsonable`, many times as fast for what is written most: lists of numbers."""
    if type(column) is not list or not set(map(type, column)) <= {float, int}:
        return jsonable(column)
    if isfinite(sum(column)):
        return column
    return [value if isfinite(value) else jsonable(value) for value in column]


def read_signals(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a signals file without the header.

    Raises:
        SweeperError: written by a newer version, or a damaged line that is not the last.
    """
    lines = path.read_bytes().split(b"\n")
    complete, torn = lines[:-1], lines[-1]
    for number, line in enumerate(complete, 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(complete) and not torn:
                return  # a power loss may leave a full-length line of garbage at the end
            raise SweeperError(
                f"signals must be JSON lines, got {error} in {path}:{number}"
            ) from None
        if entry["k"] == "header":
            if entry["version"] > VERSION:
                raise SweeperError(
                    f"signals must have version <= {VERSION}, got {entry['version']} in {path}"
                )
            continue
        yield entry
