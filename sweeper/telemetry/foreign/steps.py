"""The order of a log's rows: steps out of order, repeated, begun anew, or counted within epochs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.types import Floats

    Ints = NDArray[np.int64]

NEAR_START = 0.02
"""Share of the steps so far within which a step that fell back counts as a new start."""
MANY_STARTS = 8
"""Starts from which a counter counts within epochs: nobody appends so many runs to one file."""
SHUFFLED = 0.05
"""Share of backward steps from which rows are taken for unordered rather than resumed."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Rows of one series in the order of training."""

    rows: Ints
    """Positions in the series as given: repeated ones left out, in order [T]."""
    step: Floats
    """Step of each of them, increasing where known [T]."""
    run: Ints
    """Number of the run each belongs to, from 0 [T]."""
    counted: bool = False
    """The column was no step: rows are counted."""
    notes: tuple[str, ...] = ()


def put_in_order(step: Floats, epoch: Floats, values: Floats, *, name: str, counter: bool) -> Order:
    """Order a series by its steps; all arrays are ``[R]`` in the order of the file.

    ``values`` tell a new run (the loss is back where it began) from a counter that begins anew in
    every epoch. ``counter``: the name speaks of batches or iterations.
    """
    n = len(step)
    rows = np.arange(n, dtype=np.int64)
    if not np.isfinite(step).any():
        return Order(rows=rows, step=rows.astype(float), run=np.zeros(n, np.int64))
    notes: list[str] = []
    step = _filled(step)
    repeated = 1 - len(np.unique(step)) / n
    if repeated > 0.4 and _constant_runs(step) > 1.5:
        notes.append(f"{name!r} repeats over several rows, so rows are counted instead")
        return Order(
            rows=rows, step=rows.astype(float), run=np.zeros(n, np.int64), counted=True,
            notes=tuple(notes),
        )  # fmt: skip
    back = np.flatnonzero(np.diff(step) < 0) + 1
    if not len(back):
        keep = np.append(np.diff(step) > 0, True)
        if not keep.all():
            notes.append(f"{int((~keep).sum())} repeated steps: the last row of each counts")
        return Order(
            rows=rows[keep], step=step[keep], run=np.zeros(int(keep.sum()), np.int64),
            notes=tuple(notes),
        )  # fmt: skip
    if repeated == 0:
        order = np.argsort(step, kind="stable")
        notes.append(f"{len(back)} rows were out of order and were sorted by {name!r}")
        return Order(rows=order, step=step[order], run=np.zeros(n, np.int64), notes=tuple(notes))
    starts = _starts(step, back)
    if len(back) > SHUFFLED * n and len(starts) < 0.5 * len(back):
        order = np.argsort(step, kind="stable")
        last = np.append(np.diff(step[order]) > 0, True)
        notes.append(
            f"{len(back)} rows were out of order: sorted by {name!r}, the last of equal steps"
            " counts"
        )
        kept = order[last]
        return Order(
            rows=kept, step=step[kept], run=np.zeros(len(kept), np.int64), notes=tuple(notes)
        )
    if len(starts) and _counts_within(step, epoch, values, starts, counter):
        notes.append(f"{name!r} begins anew {len(starts)} times within the run: counted on")
        return Order(rows=rows, step=_counted_on(step, starts), run=np.zeros(n, np.int64),
                     notes=tuple(notes))  # fmt: skip
    return _resumed(step, starts, name, notes)


def _starts(step: Floats, back: Ints) -> Ints:
    """Backward steps that lead to the beginning."""
    out = []
    first, top = step[0], step[0]
    begun = 0
    for at in back:
        top = float(step[begun:at].max())
        if step[at] <= first + NEAR_START * max(top - first, 0.0):
            out.append(at)
            begun = int(at)
    return np.array(out, dtype=np.int64)


def _counts_within(
    step: Floats, epoch: Floats, values: Floats, starts: Ints, counter: bool
) -> bool:
    """Whether the step counts batches within an epoch."""
    known = np.isfinite(epoch[starts]) & np.isfinite(epoch[starts - 1])
    if known.any():
        return bool((epoch[starts][known] > epoch[starts - 1][known]).mean() > 0.5)
    if len(starts) > MANY_STARTS:
        return True
    begin = _level(values[:3])
    nearer = 0
    for at in starts:
        before, after = _level(values[max(0, at - 3) : at]), _level(values[at : at + 3])
        nearer += abs(after - before) < abs(after - begin)
    if abs(begin - _level(values[-3:])) < 0.02 * abs(begin):
        return counter  # the values do not move, so they cannot tell
    return nearer > 0.5 * len(starts)


def _counted_on(step: Floats, starts: Ints) -> Floats:
    out = step.copy()
    gap = float(np.median(np.abs(np.diff(step)))) or 1.0
    for at in starts:
        out[at:] = step[at:] - step[at] + out[at - 1] + gap
    return out


def _resumed(step: Floats, starts: Ints, name: str, notes: list[str]) -> Order:
    """Runs between starts; within each, rows that were trained again are left out."""
    bounds = [0, *starts.tolist(), len(step)]
    rows: list[Ints] = []
    runs: list[Ints] = []
    replaced = 0
    for number, (low, high) in enumerate(pairwise(bounds)):
        part = step[low:high]
        # A row counts when no later one has its step or a smaller one.
        later = np.append(np.minimum.accumulate(part[::-1])[::-1][1:], np.inf)
        keep = part < later
        replaced += int((~keep).sum())
        rows.append(np.flatnonzero(keep).astype(np.int64) + low)
        runs.append(np.full(int(keep.sum()), number, dtype=np.int64))
    if replaced:
        notes.append(
            f"{name!r} falls back to an earlier value: a resumed run, {replaced} rows before it"
            " were trained again and the later ones count"
        )
    kept = np.concatenate(rows)
    return Order(rows=kept, step=step[kept], run=np.concatenate(runs), notes=tuple(notes))


def _filled(step: Floats) -> Floats:
    """Unknown steps take the one before."""
    known = np.isfinite(step)
    last = np.maximum.accumulate(np.where(known, np.arange(len(step)), -1))
    first = float(step[known][0])
    return np.where(last >= 0, step[np.maximum(last, 0)], first)


def _constant_runs(step: Floats) -> float:
    """Mean length of stretches of equal steps."""
    return len(step) / (1 + int((np.diff(step) != 0).sum()))


def _level(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0
