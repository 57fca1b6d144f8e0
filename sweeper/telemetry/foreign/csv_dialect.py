"""How a CSV file is written: delimiter, decimal comma, what stands above the header."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from sweeper.telemetry.foreign.numbers import parse

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_DECIMAL_POINT = re.compile(r"[+-]?\d+\.\d+([eE][+-]?\d+)?")


class Dialect(csv.Dialect):
    quotechar = '"'
    doublequote = True
    lineterminator = "\n"
    quoting = csv.QUOTE_MINIMAL

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self.skipinitialspace = True
        super().__init__()


def content(source: Iterable[str]) -> Iterator[str]:
    """Lines without a ``sep=`` line and without the comments above the header."""
    rest, comment = iter(source), ""
    for line in rest:
        if not line.strip() or re.fullmatch(r'"?sep=.?"?\s*', line.lower()):
            continue
        if line.startswith("#"):
            comment = line
            continue
        # numpy.savetxt writes the names into a comment.
        if comment and _starts_with_number(line) and len(comment.split()) > 1:
            yield comment.lstrip("# ")
        yield line
        break
    yield from rest


def _starts_with_number(line: str) -> bool:
    return parse(re.split(r"[,;\t| ]", line.strip(), maxsplit=1)[0]) is not None


def delimiter_of(sample: Iterable[str]) -> str:
    """The one that cuts the header into most cells and the rows below into as many."""
    rows = [line for line in islice(sample, 30) if line.strip()]
    best, most = ",", 0.0
    for position, delimiter in enumerate(DELIMITERS):
        counts = [len(next(csv.reader([row], Dialect(delimiter)), [])) for row in rows]
        if not counts or counts[0] < 2:
            continue
        alike = sum(c == counts[0] for c in counts) / len(counts)
        score = alike * 100 + min(counts[0], 50) - position
        if delimiter == " ":
            score -= 60  # blanks are inside of names, too
        if score > most:
            best, most = delimiter, score
    return best


def has_decimal_comma(sample: Iterable[str], delimiter: str) -> bool:
    cells = [
        cell.strip()
        for row in csv.reader(list(islice(sample, 30))[1:], Dialect(delimiter))
        for cell in row
    ]
    comma = sum(bool(_DECIMAL_COMMA.fullmatch(c)) for c in cells)
    return comma > sum(bool(_DECIMAL_POINT.fullmatch(c)) for c in cells)
