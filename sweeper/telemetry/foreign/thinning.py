"""Bounded memory: of a long log every k-th row is kept, and the rows that a k-th row would hide.

Rows are kept in groups that were given the same columns, so that rare rows (evaluations between
thousands of training rows) are thinned by themselves. A group that is thinned keeps

- every k-th row: a fair sample, so that noise looks as it does in the whole log;
- in each of `STRETCHES` stretches the rows with the largest and the smallest value of each column
  and the first row that is not finite, so that no spike and no NaN is lost;
- the first and the last row.

Rows of the second kind are few against the first (at most 256 a column and kind against 32,768 or
more), so shares and spreads are those of the fair sample.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.types import Floats

    Ints = NDArray[np.int64]

MOST_ROWS = 1 << 17
"""Rows kept of a whole log."""
STRETCHES = 256
"""Parts of a thinned group in which extremes are kept."""
MOST_GROUPS = 63
"""Sets of given columns told apart; the rows of all further ones are one group."""


@dataclass
class Group:
    """Rows with the same columns: number in the file [R], bits of given columns [R], values
    [R, C]."""

    seen: int = 0
    stride: int = 1
    numbers: list[Ints] = field(default_factory=list)
    order: list[Ints] = field(default_factory=list)
    """Position within the group."""
    bits: list[Ints] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    size: int = 0

    def add(self, numbers: Ints, bits: Ints, values: Floats) -> None:
        order = np.arange(self.seen, self.seen + len(numbers), dtype=np.int64)
        self.seen += len(numbers)
        self.numbers.append(numbers)
        self.order.append(order)
        self.bits.append(bits)
        self.values.append(values)
        self.size += len(numbers)

    def merged(self) -> tuple[Ints, Ints, Ints, Floats]:
        """Numbers, order, bits and values as one array each; narrow old blocks are widened."""
        width = max(v.shape[1] for v in self.values)
        wide = [
            v if v.shape[1] == width
            else np.pad(v, ((0, 0), (0, width - v.shape[1])), constant_values=np.nan)
            for v in self.values
        ]  # fmt: skip
        parts = np.concatenate(self.numbers), np.concatenate(self.order)
        return *parts, np.concatenate(self.bits), np.concatenate(wide)

    def thin(self, tracked: Ints) -> None:
        """Keep the rows of the module's rule for the present stride."""
        numbers, order, bits, values = self.merged()
        keep = order % self.stride == 0
        keep[[0, -1]] = True
        if self.stride > 1:
            keep |= _extremes(order * STRETCHES // max(self.seen, 1), bits, values, tracked)
        self.numbers, self.order = [numbers[keep]], [order[keep]]
        self.bits, self.values = [bits[keep]], [values[keep]]
        self.size = int(keep.sum())

    @property
    def fair(self) -> int:
        """Rows of the fair sample."""
        return -(-self.seen // self.stride)


def _extremes(stretch: Ints, bits: Ints, values: Floats, tracked: Ints) -> NDArray[np.bool_]:
    keep = np.zeros(len(stretch), dtype=bool)
    for column in tracked:
        if column >= values.shape[1]:
            continue
        given = np.flatnonzero(bits >> column & 1)
        v = values[given, column]
        finite = np.isfinite(v)
        rows = given[~finite]
        keep[rows[np.unique(stretch[rows], return_index=True)[1]]] = True
        rows = given[finite]
        if not len(rows):
            continue
        by_value = rows[np.lexsort((v[finite], stretch[rows]))]
        starts = np.unique(stretch[by_value], return_index=True)[1]
        keep[by_value[starts]] = True
        keep[by_value[np.append(starts[1:], len(by_value)) - 1]] = True
    return keep


class Thinner:
    """Takes blocks of rows of any length, in the order of the file."""

    def __init__(self, most: int = MOST_ROWS) -> None:
        self.most = most
        self.groups: dict[int, Group] = {}
        self.n_rows = 0
        self.tracked: Ints = np.zeros(0, dtype=np.int64)
        """Columns whose extremes are kept (steps, epochs and rates need none)."""

    def add(self, values: Floats, given: NDArray[np.bool_]) -> None:
        """``[R, C]`` values and which of them were given, C at most 62."""
        bits = given.astype(np.int64) @ (np.int64(1) << np.arange(values.shape[1], dtype=np.int64))
        numbers = np.arange(self.n_rows, self.n_rows + len(values), dtype=np.int64)
        self.n_rows += len(values)
        for key in np.unique(bits).tolist():
            if key == 0:
                continue
            rows = bits == key
            if key not in self.groups and len(self.groups) >= MOST_GROUPS:
                key = -1
            group = self.groups.setdefault(key, Group())
            group.add(numbers[rows], bits[rows], values[rows])
        self._bound()

    def _bound(self) -> None:
        while sum(g.size for g in self.groups.values()) > 2 * self.most:
            while sum(g.fair for g in self.groups.values()) > self.most:
                largest = max(self.groups.values(), key=lambda g: g.fair)
                largest.stride *= 2
            before = sum(g.size for g in self.groups.values())
            for group in self.groups.values():
                group.thin(self.tracked)
            if sum(g.size for g in self.groups.values()) >= before:
                return

    def finish(self) -> tuple[Ints, Ints, Floats]:
        """Row numbers, bits and values of what is kept, in the order of the file."""
        if not self.groups:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0))
        for group in self.groups.values():
            if group.stride > 1:
                group.thin(self.tracked)
        width = max(v.shape[1] for g in self.groups.values() for v in g.values)
        parts = [g.merged() for g in self.groups.values()]
        numbers = np.concatenate([p[0] for p in parts])
        bits = np.concatenate([p[2] for p in parts])
        values = np.concatenate([
            np.pad(p[3], ((0, 0), (0, width - p[3].shape[1])), constant_values=np.nan)
            for p in parts
        ])  # fmt: skip
        order = np.argsort(numbers, kind="stable")
        return numbers[order], bits[order], values[order]

    @property
    def stride(self) -> int:
        """The largest k of any group: 1 when every row was kept."""
        return max((g.stride for g in self.groups.values()), default=1)
