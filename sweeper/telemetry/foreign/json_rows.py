"""Objects of JSON -> rows of a table: nested ones are flattened, names are looked up once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sweeper.telemetry.foreign.names import read_name
from sweeper.telemetry.foreign.numbers import clean_name, from_json
from sweeper.telemetry.foreign.table import MOST_NAMES, TableBuilder, rows_to_block

BLOCK = 4096
"""Rows put into the table at once."""
DEEPEST = 4
"""Levels of nested objects that are flattened into names with a slash."""
MOST_KEYS = 512
"""Keys read of one row."""


def _number(text: str) -> float:
    # Integers of thousands of digits are refused by int() and are of no use.
    return float(text) if len(text) < 400 else math.copysign(math.inf, -(text[0] == "-") or 1)


DECODER = json.JSONDecoder(parse_int=_number)


class Rows:
    """Objects -> rows of the table, in blocks."""

    def __init__(self, builder: TableBuilder) -> None:
        self._builder = builder
        self._pending: list[dict[int, float]] = []
        self._columns: dict[str, int | None] = {}
        self._names: tuple[str, ...] | None = None
        """Keys of the metric's name and value where rows hold one metric each; told by the
        first."""

    @property
    def one_each(self) -> bool:
        return bool(self._names)

    def add(self, entry: Mapping[str, Any]) -> None:
        row: dict[int, float] = {}
        if self._names is None:
            self._names = _long_names(entry)
        if self._names:
            key, value = self._names
            entry = {str(entry.get(key)): entry.get(value)} | {
                k: v for k, v in entry.items() if k not in self._names
            }
        self._flatten(entry, "", 0, row)
        if row:
            self._pending.append(row)
            if len(self._pending) >= BLOCK:
                self.flush()

    def _flatten(
        self, entry: Mapping[str, Any], prefix: str, depth: int, row: dict[int, float]
    ) -> None:
        for i, (key, value) in enumerate(entry.items()):
            if i >= MOST_KEYS:
                return
            if isinstance(value, dict):
                if depth < DEEPEST:
                    self._flatten(value, f"{prefix}{key}/", depth + 1, row)
                continue
            name = prefix + key
            if name in self._columns:
                column = self._columns[name]
            else:
                column = self._builder.column(name)
                if len(self._columns) < MOST_NAMES:
                    self._columns[name] = column
            if column is None:
                continue
            texts = self._builder.texts
            plain = type(value) is float and column not in texts
            number = value if plain else self._number(column, value)
            if number is not None:
                row[column] = number

    def _number(self, column: int, value: Any) -> float | None:
        if column not in self._builder.texts:
            return from_json(value)
        if not isinstance(value, (str, int, float)):
            return None
        return self._builder.word(column, clean_name(str(value)))

    def flush(self) -> None:
        if self._pending:
            self._builder.add(*rows_to_block(self._builder, self._pending))
            self._pending = []


def _long_names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys of the metric's name and value of a row that holds one metric; empty for others."""
    roles = {r.role: k for k in entry if (r := read_name(k))}
    named = isinstance(entry.get(roles.get("key", "")), str)
    plain = not {"loss", "accuracy", "error", "perplexity", "grad_norm", "lr"} & set(roles)
    return (roles["key"], roles["value"]) if named and "value" in roles and plain else ()
