"""Numbers as logs spell them. Missing is not NaN: an empty cell was not logged, ``nan`` was."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.types import Floats

    Bools = NDArray[np.bool_]

MISSING = frozenset({"", "-", "--", "na", "n/a", "none", "null", "nil", "missing", "?"})
_NAN = re.compile(r"[+-]?(nan(\([a-z]*\))?|nan[qs]|1[.,]#(ind|qnan|snan)\d*)", re.IGNORECASE)
"""C, C++, Windows (1.#QNAN), Fortran and Python."""
_INFINITE = re.compile(r"([+-]?)(inf(inity)?|1[.,]#inf\d*|\u221e)", re.IGNORECASE)
_WRAPPED = re.compile(
    r"(?:tensor|array|np\.float\d+|float\d*|\w+\.EagerTensor)?\(\[?\s*(.+?)\s*\]?"
    r"(?:,\s*[a-z_]+\s*=.*)?\)"
)
_FORTRAN = re.compile(r"([+-]?\d+(?:\.\d*)?)[dD]([+-]?\d+)")
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d+")
_LONGEST = 200
"""Characters of a cell that is still looked at as a number."""


@dataclass
class BadCells:
    """Cells of one column that are no numbers: how many, and the first."""

    count: int = 0
    first: str = ""
    line: int = 0


@dataclass
class CellReader:
    """Cells of text -> numbers, with the decimal comma when the file uses it."""

    decimal_comma: bool = False
    bad: dict[str, BadCells] = field(default_factory=dict)

    def column(self, name: str, cells: Sequence[str], lines: Sequence[int]) -> tuple[Floats, Bools]:
        """``[R]`` values and which of them were given; ``lines`` are places for the messages."""
        try:
            return np.array([float(c) for c in cells]), np.ones(len(cells), dtype=bool)
        except ValueError:
            pass
        values = np.full(len(cells), np.nan)
        given = np.zeros(len(cells), dtype=bool)
        for i, cell in enumerate(cells):
            if not cell:
                continue
            try:
                values[i], given[i] = float(cell), True
                continue
            except ValueError:
                pass
            number = parse(cell, self.decimal_comma)
            if number is not None:
                values[i], given[i] = number, True
            elif cell.strip().lower() not in MISSING:
                self.blame(name, cell, lines[i])
        return values, given

    def blame(self, name: str, cell: str, line: int) -> None:
        bad = self.bad.setdefault(name, BadCells())
        if not bad.count:
            bad.first, bad.line = cell, line
        bad.count += 1


def parse(cell: str, decimal_comma: bool = False) -> float | None:
    """The number a cell spells (NaN and infinities in any spelling), or None."""
    text = cell.strip().strip("'\"")
    if not text or len(text) > _LONGEST:
        return None
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped:
        text = wrapped[1]
    text = text.removesuffix("%").strip()
    if decimal_comma and "," in text:
        text = text.replace(".", "").replace(",", ".") if text.count(",") == 1 else text
    elif _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    if _NAN.fullmatch(text):
        return math.nan
    if found := _INFINITE.fullmatch(text):
        return -math.inf if found[1] == "-" else math.inf
    if found := _FORTRAN.fullmatch(text):
        return float(f"{found[1]}e{found[2]}")
    return None


def from_json(value: Any) -> float | None:
    """The number a JSON value holds; strings are read as cells, null and booleans are missing."""
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return float(value) if abs(value) < 1 << 1000 else math.inf if value > 0 else -math.inf
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, list) and len(value) == 1:
        return from_json(value[0])
    return None


def clean_name(text: str, most: int = 80) -> str:
    """A name fit for a terminal and a table: no control characters, one line, cut when long."""
    text = text[: 4 * most]
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
