"""The columns of one run as series with their places and steps, and how they are laid together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sweeper.telemetry.foreign.choose import Part
from sweeper.telemetry.foreign.steps import Order
from sweeper.telemetry.foreign.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.types import Floats

    Ints = NDArray[np.int64]

OTHER_SCALE = 0.2
"""Last step of a series over that of the losses under which it is counted in epochs (design)."""


@dataclass(frozen=True)
class Series:
    """Values of one column of a run: place in the log, step, epoch and value, [N] each."""

    place: Ints
    step: Floats
    epoch: Floats
    values: Floats

    def at(self, rows: Ints | NDArray[np.bool_]) -> Series:
        return Series(self.place[rows], self.step[rows], self.epoch[rows], self.values[rows])

    def with_values(self, values: Floats) -> Series:
        return Series(self.place, self.step, self.epoch, values)


@dataclass
class Work:
    """What is known of one part of a table while its runs are put together."""

    table: Table
    part: Part
    notes: list[str] = field(default_factory=list)

    def series(self, role: str) -> Series | None:
        """The values of a role; None without any. Held-out ones are those of its rows that a phase
        calls so, where the column does not say it."""
        column = self.part.columns.get(role)
        if column is None:
            return None
        rows = self.part.rows & self.table.given[:, column]
        held = role.startswith("val_")
        shared = self.part.columns.get(role.removeprefix("val_")) == column
        by_phase = bool(self.part.held.any()) and not self.table.columns[column].reading.split
        if by_phase and role not in ("lr", "grad_norm"):
            rows &= self.part.held if held else ~self.part.held
        elif shared and held:
            return None
        at = np.flatnonzero(rows)
        return self.rows(at, self.table.values[at, column]) if len(at) else None

    def rows(self, at: Ints, values: Floats) -> Series:
        """Values at rows of the table with their step and epoch."""
        return Series(
            self.table.numbers[at], self._axis("step", at), self._axis("epoch", at), values
        )

    def _axis(self, role: str, at: Ints) -> Floats:
        column = self.part.columns.get(role)
        if column is None:
            return np.full(len(at), np.nan)
        return np.where(self.table.given[at, column], self.table.values[at, column], np.nan)

    def name(self, role: str) -> str:
        return self.table.columns[self.part.columns[role]].name

    def note(self, *texts: str) -> None:
        self.notes.extend(t for t in texts if t not in self.notes)


@dataclass
class Beside:
    """Lays the values of other columns beside the rows of one run of the main series."""

    work: Work
    main: Series
    order: Order
    run: int
    axis: str
    """``step``, ``epoch`` or nothing."""

    def __post_init__(self) -> None:
        mine = self.order.run == self.run
        self.rows = self.order.rows[mine]
        self.step = self.order.step[mine]
        place = self.main.place[self.rows]
        self.by_step = self.work.table.by_step or not bool((np.diff(place) > 0).all())
        self.at = self.step if self.by_step else place.astype(float)
        later = self.order.rows[self.order.run == self.run + 1]
        self.low = int(place.min()) if self.run else -1
        self.high = int(self.main.place[later].min()) if len(later) else np.iinfo(np.int64).max
        self.kept = np.zeros(len(self.main.place), dtype=bool)
        self.kept[self.order.rows] = True

    def series(self, role: str) -> Series | None:
        """The role's values within this run, without those of rows that do not count."""
        found = self.work.series(role)
        if found is None or not self.work.table.sequential:
            return found
        inside = (found.place >= self.low) & (found.place < self.high)
        if not self.work.table.by_step:
            owner = np.searchsorted(self.main.place, found.place, side="right") - 1
            inside &= (owner < 0) | self.kept[np.maximum(owner, 0)]
        return found.at(inside) if inside.any() else None

    def place(self, series: Series) -> Floats:
        """Where the values are on the common axis, [N]."""
        if not self.by_step:
            return series.place.astype(float)
        own = series.epoch if self.axis == "epoch" else series.step
        if not np.isfinite(own).any():
            return np.linspace(self.at[0], self.at[-1], len(own))
        top, last = float(np.nanmax(own)), float(self.at[-1])
        if len(own) >= 3 and top < OTHER_SCALE * last and len(own) <= top + 2:
            self.work.note(
                f"some values are numbered to {top:g} beside losses to {last:g}: they are spread"
                " evenly over the run"
            )
            return np.asarray((own + 1) / (top + 1) * last)
        return own

    def onto(self, series: Series, *, hold: bool = False) -> Floats:
        """Values at the main rows [T]: each at the last row not behind it; held until the next."""
        out = np.full(len(self.at), np.nan)
        where = self.place(series)
        order = np.argsort(where, kind="stable")
        index = np.searchsorted(self.at, where[order], side="right") - 1
        out[np.maximum(index, 0)] = series.values[order]
        known = ~np.isnan(out)
        if hold and known.any():
            last = np.maximum.accumulate(np.where(known, np.arange(len(out)), -1))
            out = np.where(last >= 0, out[np.maximum(last, 0)], out[known][0])
        return out
