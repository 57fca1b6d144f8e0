"""JSON: lines of objects, one array of objects, transformers' ``trainer_state.json``, and objects
of lists (Keras' ``history.history``). TensorBoard's downloads are arrays of [time, step, value].

Objects are decoded one by one from a sliding window, so that a file of any length needs little
memory and one that was cut off still gives all it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from sweeper.telemetry.foreign.json_rows import DECODER, DEEPEST, MOST_KEYS, Rows
from sweeper.telemetry.foreign.numbers import clean_name
from sweeper.telemetry.foreign.table import Table, TableBuilder, tag_of
from sweeper.telemetry.foreign.text import Lines, opened, text_of
from sweeper.types import UsageError

WINDOW = 1 << 18
"""Characters read at once from an array."""
LARGEST_OBJECT = 1 << 24
"""Characters of one object of an array, and of a document that is read as a whole."""


_HISTORY = re.compile(r'"log_history"\s*:\s*\[')


def read_json(path: Path, head: bytes, encoding: str, asked: Mapping[str, str]) -> Table:
    """A JSON file of any of the module's forms as a table.

    Raises:
        UsageError: not JSON, nested too deep, or no objects with numbers.
    """
    text = text_of(head, encoding).lstrip("\ufeff \t\r\n")
    builder = TableBuilder(asked)
    with opened(path, encoding) as file:
        if text.startswith("["):
            return _array(path, file, builder, "JSON array", re.compile(r"\["))
        if _HISTORY.search(text) or (
            path.name == "trainer_state.json" and '"log_history"' in _early(path, encoding)
        ):
            return _array(path, file, builder, "trainer_state.json", _HISTORY)
        if _first_line_is_object(text):
            return _json_lines(path, file, builder)
        return _document(path, file, builder)


def _early(path: Path, encoding: str) -> str:
    """More of a trainer state whose history begins late (it follows its other settings)."""
    with opened(path, encoding) as file:
        return file.read(LARGEST_OBJECT)


def _first_line_is_object(text: str) -> bool:
    first, _, rest = text.partition("\n")
    first = first.strip()
    if not first.endswith("}") or not rest.strip():
        return False
    try:
        found = DECODER.decode(first)
    except (ValueError, RecursionError):
        return False
    return not any(isinstance(v, list) and len(v) > 1 for v in found.values())


def _json_lines(path: Path, file: TextIO, builder: TableBuilder) -> Table:
    rows = Rows(builder)
    bad, first_bad, why, ended_well = 0, 0, "", True
    source = Lines(file, path)
    for line in source:
        if not line.strip():
            continue
        try:
            entry = DECODER.decode(line)
        except RecursionError:
            raise _too_deep(path, source.number) from None
        except ValueError as error:
            bad, first_bad = bad + 1, first_bad or source.number
            why, ended_well = why or str(error), False
            continue
        ended_well = True
        if isinstance(entry, dict):
            rows.add(entry)
    rows.flush()
    if not builder.n_rows:
        reason = f"{why} in {path}:{first_bad}" if bad else f"none in {path}"
        raise UsageError(f"JSON lines must be objects with numbers, got {reason}")
    if bad == 1 and not ended_well:
        builder.notes.append(f"the last line ({first_bad}) is cut off and was left out")
    elif bad:
        builder.notes.append(f"{bad} lines are no JSON, the first is line {first_bad}: left out")
    return builder.finish("JSON lines", by_step=rows.one_each, sequential=not rows.one_each)


def _array(
    path: Path, file: TextIO, builder: TableBuilder, form: str, start: re.Pattern[str]
) -> Table:
    """Objects behind the first match of ``start``, to the bracket that closes them."""
    rows = Rows(builder)
    stream = _Objects(file, path)
    settings = stream.seek(start)
    for entry in stream:
        if isinstance(entry, dict):
            rows.add(entry)
        elif isinstance(entry, list) and len(entry) == 3:
            rows.add({"wall time": entry[0], "step": entry[1], tag_of(path): entry[2]})
    rows.flush()
    if not builder.n_rows:
        raise UsageError(f"{form} must hold objects with numbers, got none in {path}")
    if not stream.complete:
        builder.notes.append(
            f"the file is cut off behind entry {stream.count}: {clean_name(stream.error)}"
        )
    size = 0
    if form == "trainer_state.json":
        found = re.search(r'"train_batch_size"\s*:\s*(\d{1,9})', settings + stream.rest())
        size = int(found[1]) if found else 0
    return builder.finish(
        form, by_step=rows.one_each, sequential=not rows.one_each, batch_size=size
    )


class _Objects:
    """Values of an array, decoded from a window that slides over the file."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.count = 0
        self.complete = False
        self.error = "no closing bracket"
        self._file, self._path = file, path
        self._window, self._at, self._ended = "", 0, False

    def seek(self, start: re.Pattern[str]) -> str:
        """Go behind the first match; what came before it is returned."""
        while not (found := start.search(self._window)):
            if not self._more():
                raise UsageError(f"LOG must hold a list of entries, got none in {self._path}")
        self._at = found.end()
        return self._window[: found.start()]

    def __iter__(self) -> Iterator[Any]:
        while True:
            at = self._skip()
            if at is None:
                return
            try:
                value, end = DECODER.raw_decode(self._window, at)
            except RecursionError:
                raise _too_deep(self._path, self.count + 1, "entry") from None
            except ValueError as error:
                if self._ended or len(self._window) - at > LARGEST_OBJECT:
                    self.error = str(error)
                    return
                self._more()
                continue
            if end >= len(self._window) - 1 and not self._ended:
                self._more()  # a number may go on
                continue
            self._at = end
            self.count += 1
            yield value
            if self._at > WINDOW:
                self._window, self._at = self._window[self._at :], 0

    def _skip(self) -> int | None:
        """Position of the next value; None at the end of the array or of the file."""
        while True:
            while self._at < len(self._window) and self._window[self._at] in " \t\r\n,":
                self._at += 1
            if self._at < len(self._window):
                if self._window[self._at] == "]":
                    self.complete = True
                    return None
                return self._at
            if not self._more():
                return None

    def rest(self) -> str:
        """What follows the array, up to a window."""
        self._more()
        return self._window[self._at : self._at + WINDOW]

    def _more(self) -> bool:
        block = self._file.read(WINDOW)
        self._window += block
        self._ended = not block
        return bool(block)


def _document(path: Path, file: TextIO, builder: TableBuilder) -> Table:
    """One object: of lists (columns), or one row."""
    text = file.read(LARGEST_OBJECT + 1)
    if len(text) > LARGEST_OBJECT:
        raise UsageError(
            f"a JSON document that is no list of entries must have at most"
            f" {LARGEST_OBJECT:,} characters, got more in {path}: write JSON lines"
        )
    try:
        data = DECODER.decode(text.lstrip("\ufeff"))
    except RecursionError:
        raise _too_deep(path, 1) from None
    except ValueError as error:
        raise UsageError(f"LOG must be JSON, got {error} in {path}") from None
    columns = _lists(data)
    if not columns:
        raise UsageError(
            f"JSON must hold entries (a list of objects, or an object of lists), got neither in"
            f" {path}"
        )
    rows = Rows(builder)
    for i in range(max(len(v) for v in columns.values())):
        rows.add({name: v[i] for name, v in columns.items() if i < len(v)})
    rows.flush()
    if not builder.n_rows:
        raise UsageError(f"JSON must hold lists of numbers, got none in {path}")
    return builder.finish("JSON object of lists")


def _lists(data: Any, prefix: str = "", depth: int = 0) -> dict[str, list[Any]]:
    """Lists of an object by name; pandas' ``{column: {row: value}}`` counts as lists."""
    out: dict[str, list[Any]] = {}
    if not isinstance(data, dict) or depth > DEEPEST:
        return out
    for name, value in list(data.items())[:MOST_KEYS]:
        if isinstance(value, list):
            out[prefix + name] = value
        elif isinstance(value, dict):
            if value and all(k.isdigit() for k in value):
                out[prefix + name] = list(value.values())
            else:
                out.update(_lists(value, f"{prefix}{name}/", depth + 1))
    return out


def _too_deep(path: Path, place: int, what: str = "line") -> UsageError:
    return UsageError(f"JSON must not be nested thousands deep, got that in {path}, {what} {place}")
