"""A log as a table of numbers: the columns that may matter, the rows that memory allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeper.telemetry.foreign.names import Reading, is_reward, read_name
from sweeper.telemetry.foreign.numbers import clean_name
from sweeper.telemetry.foreign.thinning import MOST_ROWS, Thinner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.types import Floats

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

MOST_COLUMNS = 48
"""Columns read of one log; a log of more losses needs `--columns`."""
MOST_NAMES = 2000
"""Names remembered for messages."""
MOST_WORDS = 64
"""Different words of a text column (phase, run) told apart."""
UNTRACKED = frozenset({"step", "epoch", "time", "lr", "phase", "run", "key"})
"""Roles whose largest and smallest values need not be kept."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that is read: its name for people, and what the name says."""

    name: str
    reading: Reading
    group: str = ""
    """The run that a name holds before its metric (W&B's exports), or the folder of a tag."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a reader hands over. Shapes: R rows kept, C columns."""

    form: str
    """Format for people: csv, json lines, trainer_state.json, ..."""
    columns: tuple[Column, ...]
    numbers: Ints  # [R] row number in the log
    values: Floats  # [R, C]
    given: Bools  # [R, C] false: not logged in this row
    words: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Text column -> its words; its values are positions in them."""
    others: tuple[str, ...] = ()
    """Names that were not read."""
    n_rows: int = 0
    stride: int = 1
    """Every so-many-th row was kept beside the extremes."""
    breaks: tuple[int, ...] = ()
    """Row numbers at which the header was repeated: a new run was appended."""
    by_step: bool = False
    """Rows hold one value each and belong together by their step, not by their place."""
    sequential: bool = True
    """Rows come in the order of time; not so where each metric has a file of its own."""
    reinforcement: bool = False
    batch_size: int = 0
    notes: tuple[str, ...] = ()
    """What was unusual about the log, as sentences."""


class TableBuilder:
    """Columns are found as rows come; blocks of rows are thinned at once."""

    def __init__(self, asked: Mapping[str, str], most: int = MOST_ROWS) -> None:
        """``asked``: column -> role, as `--columns` says."""
        self.asked = asked
        self.columns: list[Column] = []
        self.texts: dict[int, dict[str, int]] = {}
        self.others: dict[str, None] = {}
        self.reinforcement = False
        self.notes: list[str] = []
        self.breaks: list[int] = []
        self.thinner = Thinner(most)
        self._seen: dict[tuple[str, str], int | None] = {}
        self._left_out = 0

    def column(self, raw: str, group: str = "") -> int | None:
        """Position of a column by its raw name; None when it is of no use."""
        key = (group, raw)
        if key in self._seen:
            return self._seen[key]
        found = self._new_column(raw, group)
        if len(self._seen) < 4 * MOST_NAMES:
            self._seen[key] = found
        return found

    def _new_column(self, raw: str, group: str) -> int | None:
        name, reading = clean_name(raw), None
        role = self.asked.get(raw) or self.asked.get(name)
        self.reinforcement |= is_reward(raw)
        if not group and " - " in raw:  # W&B: "run name - metric"
            group, _, metric = (part.strip() for part in raw.rpartition(" - "))
            reading = read_name(metric)
        else:
            reading = read_name(raw)
        if role is not None:
            reading = explicit(role)
            group = ""
        if reading is None:
            if len(self.others) < MOST_NAMES:
                self.others[name] = None
            return None
        if len(self.columns) >= MOST_COLUMNS:
            self._left_out += 1
            self.others[name] = None
            return None
        self.columns.append(Column(name=name, reading=reading, group=clean_name(group)))
        index = len(self.columns) - 1
        if reading.role in ("phase", "run", "key"):
            self.texts[index] = {}
        if reading.role not in UNTRACKED:
            self.thinner.tracked = np.append(self.thinner.tracked, np.int64(index))
        return index

    def word(self, column: int, text: str) -> float:
        """The number that stands for a word of a text column; NaN when there are too many."""
        known = self.texts[column]
        if text not in known:
            if len(known) >= MOST_WORDS:
                return float("nan")
            known[text] = len(known)
        return float(known[text])

    def add(self, values: Floats, given: Bools) -> None:
        """A block ``[R, C]``; C may grow from block to block."""
        self.thinner.add(values, given)

    @property
    def n_rows(self) -> int:
        return self.thinner.n_rows

    def finish(
        self, form: str, *, by_step: bool = False, sequential: bool = True, batch_size: int = 0
    ) -> Table:
        """The table; the builder is not used afterwards."""
        numbers, bits, values = self.thinner.finish()
        width = len(self.columns)
        if values.shape[1] < width:
            pad = ((0, 0), (0, width - values.shape[1]))
            values = np.pad(values, pad, constant_values=np.nan)
        given = (bits[:, None] >> np.arange(width, dtype=np.int64) & 1).astype(bool)
        notes = list(self.notes)
        if self._left_out:
            notes.append(
                f"{self._left_out} further columns that look like measures were not read (at most"
                f" {MOST_COLUMNS}); --columns names the ones that matter"
            )
        if self.thinner.stride > 1:
            notes.append(
                f"{self.n_rows:,} rows: every {self.thinner.stride}th of the most common kind was"
                " kept, with the extremes and the first values that are not finite of each"
                " stretch between"
            )
        return Table(
            form=form, columns=tuple(self.columns), numbers=numbers, values=values, given=given,
            words={c: tuple(known) for c, known in self.texts.items()},
            others=tuple(self.others), n_rows=self.n_rows, stride=self.thinner.stride,
            breaks=tuple(self.breaks), by_step=by_step, sequential=sequential,
            reinforcement=self.reinforcement, batch_size=batch_size, notes=tuple(notes),
        )  # fmt: skip


def explicit(role: str) -> Reading:
    """The reading of a column whose role was said."""
    held_out = role.startswith("val_")
    return Reading(
        role=role.removeprefix("val_"),  # type: ignore[arg-type]
        split="held_out" if held_out else "",
        rank=-1,
    )


def rows_to_block(
    builder: TableBuilder, rows: Sequence[Mapping[int, float]]
) -> tuple[Floats, Bools]:
    """Sparse rows (column -> value) as a block."""
    width, nan = range(len(builder.columns)), float("nan")
    values = np.array([[row.get(column, nan) for column in width] for row in rows])
    given = np.array([[column in row for column in width] for row in rows])
    return values, given


def tag_of(path: Path) -> str:
    """The tag in the name of a file that TensorBoard's page gave: ``run-NAME-tag-TAG.csv``."""
    stem = path.stem.lower()
    run, found, tag = stem.partition("tag-")
    return f"{'val ' if 'val' in run else ''}{tag}" if found else stem
