"""CSV in every dialect: comma, semicolon, tab, bar or blanks; decimal commas; quoted cells.

Read in blocks; rows are never all in memory. Known layouts need no word: Lightning's and Keras'
CSVLogger, W&B's chart exports (``run - metric``), TensorBoard's downloads (``Wall time, Step,
Value``), and long tables (``key, value, step``), one metric a row.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from sweeper.telemetry.foreign.names import read_name
from sweeper.telemetry.foreign.numbers import CellReader, clean_name, parse
from sweeper.telemetry.foreign.table import Table, TableBuilder, rows_to_block, tag_of
from sweeper.telemetry.foreign.text import LONGEST_LINE, Lines, opened, text_of
from sweeper.types import UsageError

BLOCK = 8192
"""Rows parsed at once."""
DELIMITERS = (",", ";", "\t", "|", " ")
MOST_CELLS = 20_000
"""Cells of a header."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_DECIMAL_POINT = re.compile(r"[+-]?\d+\.\d+([eE][+-]?\d+)?")


Row = tuple[int, list[str]]
"""Line number and cells."""


class _Dialect(csv.Dialect):
    quotechar = '"'
    doublequote = True
    lineterminator = "\n"
    quoting = csv.QUOTE_MINIMAL

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self.skipinitialspace = True
        super().__init__()


def read_csv(path: Path, head: bytes, encoding: str, asked: Mapping[str, str]) -> Table:
    """A CSV file as a table.

    Raises:
        UsageError: no header, no rows, a line or cell that is too long, rows that do not fit the
            header.
    """
    sample = list(_content(text_of(head, encoding).splitlines()))
    if not sample:
        raise UsageError(f"LOG must hold rows, got comments only at the start of {path}")
    delimiter = _delimiter(sample)
    cells = CellReader(decimal_comma=_decimal_comma(sample, delimiter))
    builder = TableBuilder(asked)
    csv.field_size_limit(LONGEST_LINE)
    with opened(path, encoding) as file:
        source = Lines(file, path)
        reader = csv.reader(_content(source), _Dialect(delimiter))
        try:
            header = next(reader, [])
            _fill(path, header, _placed(reader, source), builder, cells)
        except csv.Error as error:
            raise UsageError(f"LOG must be CSV, got {error} in {path}:{source.number}") from None
    for name, bad in sorted(cells.bad.items()):
        builder.notes.append(
            f"{bad.count} cells of {name!r} are no numbers (the first,"
            f" {clean_name(bad.first, 30)!r}, in line {bad.line}): read as not logged"
        )
    if not builder.n_rows:
        raise UsageError(f"LOG must hold rows below its header, got none in {path}")
    long = any(c.reading.role == "key" for c in builder.columns)
    return builder.finish(f"CSV, {_name_of(delimiter)}", by_step=long, sequential=not long)


def _fill(
    path: Path,
    header: list[str],
    rows: Iterator[Row],
    builder: TableBuilder,
    cells: CellReader,
) -> None:
    if len(header) > MOST_CELLS:
        raise UsageError(
            f"CSV must have at most {MOST_CELLS:,} columns, got {len(header):,} in {path}"
        )
    names = [h.strip().lstrip("#").strip() for h in header]
    if all(parse(n, cells.decimal_comma) is not None for n in names if n) and any(names):
        builder.notes.append("the first row is numbers, not names: columns are called 1, 2, ...")
        rows = chain([(1, header)], rows)
        names = [str(i + 1) for i in range(len(names))]
    names = _unique(names)
    key, value = _long_columns(names)
    if key is None:
        if value is not None:
            names[value] = tag_of(path)
        _fill_wide(path, names, rows, builder, cells)
    else:
        assert value is not None
        _fill_long(names, key, value, rows, builder, cells)


def _placed(reader: Iterator[list[str]], source: Lines) -> Iterator[Row]:
    for row in reader:
        yield source.number, row


def _fill_wide(
    path: Path,
    names: list[str],
    rows: Iterator[Row],
    builder: TableBuilder,
    cells: CellReader,
) -> None:
    wanted = [(j, c) for j, name in enumerate(names) if (c := builder.column(name)) is not None]
    header, width = [n.strip() for n in names], len(names)
    odd, first_odd, n, last = 0, 0, 0, [""]
    while block := list(islice(rows, BLOCK)):
        kept: list[list[str]] = []
        places: list[int] = []
        for line, row in block:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if len(row) != width:
                if len(row) > width and not any(row[width:]):
                    row = row[:width]
                else:
                    odd, first_odd = odd + 1, first_odd or line
                    row = (row + [""] * width)[:width]
            elif row[0] == header[0] and [c.strip() for c in row] == header:
                builder.breaks.append(builder.n_rows + len(kept))
                continue
            kept.append(row)
            places.append(line)
        if kept:
            n, last = n + len(kept), kept[-1]
            _add_wide(kept, places, wanted, builder, cells)
    if odd and odd == n and n > 1:
        raise UsageError(
            f"CSV rows must have the {width} cells of the header, got another number in every row"
            f" (first in {path}:{first_odd})"
        )
    if odd:
        torn = " (the file may be cut off)" if odd == 1 and len(last) == width else ""
        builder.notes.append(
            f"{odd} rows have another number of cells than the header, the first in line"
            f" {first_odd}{torn}: missing cells are read as not logged"
        )


def _add_wide(
    rows: list[list[str]],
    places: list[int],
    wanted: list[tuple[int, int]],
    builder: TableBuilder,
    cells: CellReader,
) -> None:
    import numpy as np

    values = np.full((len(rows), len(builder.columns)), np.nan)
    given = np.zeros(values.shape, dtype=bool)
    for j, column in wanted:
        text = [row[j] for row in rows]
        if column in builder.texts:
            words = [t.strip() for t in text]
            values[:, column] = [builder.word(column, w) if w else np.nan for w in words]
            given[:, column] = np.isfinite(values[:, column])
        else:
            name = builder.columns[column].name
            values[:, column], given[:, column] = cells.column(name, text, places)
    builder.add(values, given)


def _fill_long(
    names: list[str],
    key: int,
    value: int,
    rows: Iterable[Row],
    builder: TableBuilder,
    cells: CellReader,
) -> None:
    builder.column(names[key])
    beside = [
        (j, c) for j, name in enumerate(names)
        if j not in (key, value) and (c := builder.column(name)) is not None
    ]  # fmt: skip
    pending: list[dict[int, float]] = []
    for line, row in rows:
        if len(row) <= max(key, value):
            continue
        column = builder.column(row[key])
        number = parse(row[value], cells.decimal_comma)
        if column is None or column in builder.texts:
            continue
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
        if len(pending) >= BLOCK:
            builder.add(*rows_to_block(builder, pending))
            pending = []
    if pending:
        builder.add(*rows_to_block(builder, pending))


def _long_columns(names: list[str]) -> tuple[int | None, int | None]:
    """Positions of the columns with the metric's name and value; None where there are none."""
    roles = [r.role if (r := read_name(n)) else "" for n in names]
    value = roles.index("value") if "value" in roles else None
    key = roles.index("key") if "key" in roles and value is not None else None
    measures = {"loss", "accuracy", "error", "perplexity", "grad_norm", "lr"} & set(roles)
    return (None, None) if measures else (key, value)


def _content(source: Iterable[str]) -> Iterator[str]:
    """Lines without a ``sep=`` line and without the comments above the header."""
    above, comment = True, ""
    for line in source:
        if above:
            if not line.strip() or re.fullmatch(r'"?sep=.?"?\s*', line.lower()):
                continue
            if line.startswith("#"):
                comment = line
                continue
            above = False
            # numpy.savetxt writes the names into a comment.
            if comment and _starts_with_number(line) and len(comment.split()) > 1:
                yield comment.lstrip("# ")
        yield line


def _starts_with_number(line: str) -> bool:
    return parse(re.split(r"[,;\t| ]", line.strip(), maxsplit=1)[0]) is not None


def _delimiter(sample: Iterable[str]) -> str:
    """The one that cuts the header into most cells and the rows below into as many."""
    rows = [line for line in islice(sample, 30) if line.strip()]
    best, most = ",", 0.0
    for position, delimiter in enumerate(DELIMITERS):
        counts = [len(next(csv.reader([row], _Dialect(delimiter)), [])) for row in rows]
        if not counts or counts[0] < 2:
            continue
        alike = sum(c == counts[0] for c in counts) / len(counts)
        score = alike * 100 + min(counts[0], 50) - position
        if delimiter == " ":
            score -= 60  # blanks are inside of names, too
        if score > most:
            best, most = delimiter, score
    return best


def _decimal_comma(sample: Iterable[str], delimiter: str) -> bool:
    cells = [
        cell.strip()
        for row in csv.reader(list(islice(sample, 30))[1:], _Dialect(delimiter))
        for cell in row
    ]
    comma = sum(bool(_DECIMAL_COMMA.fullmatch(c)) for c in cells)
    return comma > sum(bool(_DECIMAL_POINT.fullmatch(c)) for c in cells)


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return out


def _name_of(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank"}[delimiter]
