"""CSV in every dialect: comma, semicolon, tab, bar or blanks; decimal commas; quoted cells.

Read in blocks; rows are never all in memory. Known layouts need no word: Lightning's and Keras'
CSVLogger, W&B's chart exports (``run - metric``), TensorBoard's downloads (``Wall time, Step,
Value``), and long tables (``key, value, step``), one metric a row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from sweeper.telemetry.foreign.csv_dialect import (
    DELIMITERS,
    Dialect,
    content,
    delimiter_of,
    has_decimal_comma,
)
from sweeper.telemetry.foreign.names import read_name
from sweeper.telemetry.foreign.numbers import CellReader, clean_name, parse
from sweeper.telemetry.foreign.table import Table, TableBuilder, rows_to_block, tag_of
from sweeper.telemetry.foreign.text import LONGEST_LINE, Lines, opened, text_of
from sweeper.types import UsageError

BLOCK = 8192
"""Rows parsed at once."""
MOST_CELLS = 20_000
"""Cells of a header."""


def read_csv(path: Path, head: bytes, encoding: str, asked: Mapping[str, str]) -> Table:
    """A CSV file as a table.

    Raises:
        UsageError: no header, no rows, a line or cell that is too long, rows that do not fit the
            header.
    """
    sample = list(content(text_of(head, encoding).splitlines()))
    if not sample:
        raise UsageError(f"LOG must hold rows, got comments only at the start of {path}")
    delimiter = delimiter_of(sample)
    builder = TableBuilder(asked)
    cells = CellReader(decimal_comma=has_decimal_comma(sample, delimiter))
    csv.field_size_limit(LONGEST_LINE)
    with opened(path, encoding) as file:
        source = Lines(file, path)
        reader = csv.reader(content(source), Dialect(delimiter))
        try:
            long = _fill(_File(path, source, reader, builder, cells))
        except csv.Error as error:
            raise UsageError(f"LOG must be CSV, got {error} in {path}:{source.number}") from None
    for name, bad in sorted(cells.bad.items()):
        builder.notes.append(
            f"{bad.count} cells of {name!r} are no numbers (the first,"
            f" {clean_name(bad.first, 30)!r}, in line {bad.line}): read as not logged"
        )
    if not builder.n_rows:
        raise UsageError(
            f"LOG must hold rows of numbers below its header, got none in {path} (columns:"
            f" {', '.join([c.name for c in builder.columns] + list(builder.others)[:12])})"
        )
    form = f"CSV, {DELIMITERS[delimiter]}"
    return builder.finish(form, by_step=long, sequential=not long)


@dataclass
class _File:
    """A file while it is read."""

    path: Path
    source: Lines
    reader: Iterator[list[str]]
    builder: TableBuilder
    cells: CellReader
    names: list[str] = field(default_factory=list)
    wanted: list[tuple[int, int]] = field(default_factory=list)
    """Position in the row and column of the table."""
    odd: int = 0
    """Rows with another number of cells than the header."""
    first_odd: int = 0

    def blocks(self, first: list[list[str]]) -> Iterator[tuple[int, list[list[str]]]]:
        """Line before the block (cells with line breaks shift what follows them), and its rows."""
        if first:
            yield 0, first
        while True:
            before = self.source.number
            block = list(islice(self.reader, BLOCK))
            if not block:
                return
            yield before, block


def _fill(file: _File) -> bool:
    """Read all rows; whether they hold one metric each."""
    header = next(file.reader, [])
    if len(header) > MOST_CELLS:
        raise UsageError(
            f"CSV must have at most {MOST_CELLS:,} columns, got {len(header):,} in {file.path}"
        )
    names = [h.strip().lstrip("#").strip() for h in header]
    while len(names) > 1 and not names[-1]:
        names.pop()
    first = []
    if any(names) and all(parse(n, file.cells.decimal_comma) is not None for n in names if n):
        file.builder.notes.append(
            "the first row is numbers, not names: columns are called 1, 2, ..."
        )
        first, names = [header], [str(i + 1) for i in range(len(names))]
    key, value = _long_columns(names)
    if value is not None and key is None:
        names[value] = tag_of(file.path)
    file.names = _unique(names)
    if key is not None and value is not None:
        _fill_long(file, key, value, first)
        return True
    file.wanted = [
        (j, c) for j, n in enumerate(file.names) if (c := file.builder.column(n)) is not None
    ]
    _fill_wide(file, first)
    return False


def _fill_wide(file: _File, first: list[list[str]]) -> None:
    width, n = len(file.names), 0
    for before, block in file.blocks(first):
        lines: list[int] | range = range(before + 1, before + 1 + len(block))
        if set(map(len, block)) != {width} or file.names[0] in [row[0].strip() for row in block]:
            block, lines = _fitted(file, before, block)
        n += len(block)
        if block:
            _add_block(file, list(zip(*block, strict=True)), lines)
    if file.odd and file.odd >= n > 1:
        raise UsageError(
            f"CSV rows must have the {width} cells of the header, got another number in every row"
            f" (first in {file.path}:{file.first_odd})"
        )
    if file.odd:
        file.builder.notes.append(
            f"{file.odd} rows have another number of cells than the header, the first in line"
            f" {file.first_odd}: missing cells are read as not logged, a torn last row is left out"
        )


def _fitted(file: _File, before: int, block: list[list[str]]) -> tuple[list[list[str]], list[int]]:
    """Rows as wide as the header with their lines; blank rows and repeated headers are left out."""
    width, kept, lines = len(file.names), list[list[str]](), list[int]()
    ends_file = len(block) < BLOCK
    for i, row in enumerate(block):
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if len(row) > width and not any(row[width:]):
            row = row[:width]
        if len(row) != width:
            file.odd, file.first_odd = file.odd + 1, file.first_odd or before + 1 + i
            if ends_file and i == len(block) - 1 and len(row) < width and kept:
                continue  # its last cell may be cut off, too
            row = (row + [""] * width)[:width]
        elif row[0].strip() == file.names[0] and [c.strip() for c in row] == file.names:
            file.builder.breaks.append(file.builder.n_rows + len(kept))
            continue
        kept.append(row)
        lines.append(before + 1 + i)
    return kept, lines


def _add_block(file: _File, columns: list[tuple[str, ...]], lines: list[int] | range) -> None:
    builder = file.builder
    values = np.full((len(lines), len(builder.columns)), np.nan)
    given = np.zeros(values.shape, dtype=bool)
    for j, column in file.wanted:
        if column in builder.texts:
            words = [text.strip() for text in columns[j]]
            values[:, column] = [builder.word(column, w) if w else np.nan for w in words]
            given[:, column] = np.isfinite(values[:, column])
        else:
            name = builder.columns[column].name
            values[:, column], given[:, column] = file.cells.column(name, columns[j], lines)
    builder.add(values, given)


def _fill_long(file: _File, key: int, value: int, first: list[list[str]]) -> None:
    builder, cells = file.builder, file.cells
    beside = [
        (j, c) for j, name in enumerate(file.names)
        if j not in (key, value) and (c := builder.column(name)) is not None
    ]  # fmt: skip
    for before, block in file.blocks(first):
        pending: list[dict[int, float]] = []
        for line, row in enumerate(block, before + 1):
            if len(row) <= max(key, value):
                continue
            column = builder.column(row[key])
            if column is None or column in builder.texts:
                continue
            number = parse(row[value], cells.decimal_comma)
            if number is None:
                cells.blame(builder.columns[column].name, row[value], line)
                continue
            entry = {column: number}
            for j, other in beside:
                text = row[j].strip() if j < len(row) else ""
                found = builder.word(other, text) if other in builder.texts else parse(text)
                if found is not None:
                    entry[other] = found
            pending.append(entry)
        if pending:
            builder.add(*rows_to_block(builder, pending))


def _long_columns(names: list[str]) -> tuple[int | None, int | None]:
    """Positions of the columns with the metric's name and value; None where there are none."""
    roles = [r.role if (r := read_name(n)) else "" for n in names]
    if {"loss", "accuracy", "error", "perplexity", "grad_norm", "lr"} & set(roles):
        return None, None
    value = roles.index("value") if "value" in roles else None
    return (roles.index("key") if "key" in roles and value is not None else None), value


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return out
