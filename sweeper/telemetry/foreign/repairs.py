"""What loggers do to a NaN: filters that write 0, tables that leave the cell empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweeper.telemetry.foreign.series import Series, Work

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.types import Floats

    Bools = NDArray[np.bool_]

ZEROS = 3
"""Losses of exactly 0 that show a NaN filter (transformers' logging_nan_inf_filter)."""
ABRUPT = 0.01
"""Share of the first losses from which a fall to exactly 0 is no training (design)."""
FULL = 0.95
"""Share of the rows with a loss from which an empty cell means NaN (pandas writes it so)."""


def with_lost_nan(work: Work, loss: Series) -> Series:
    """Rows at the end whose loss is empty in a column that was full before count as NaN.

    Rows of another kind (an evaluation at the end) hold columns that rows with a loss never have.
    """
    table, part = work.table, work.part
    column = part.columns["loss"]
    rows = np.flatnonzero(part.rows & ~part.held)
    given = table.given[rows, column]
    if table.by_step or given.all():
        return loss
    known = np.flatnonzero(given)
    behind = rows[known[-1] + 1 :]
    usual = table.given[rows[given]].any(axis=0)
    other_kind = table.given[behind][:, ~usual].any()
    if not len(behind) or other_kind or given[known[0] : known[-1] + 1].mean() < FULL:
        return loss
    work.note(
        f"{work.name('loss')!r} is empty in the last {len(behind)} rows and full before: read as"
        " NaN"
    )
    tail = work.rows(behind, np.full(len(behind), np.nan))
    return Series(
        np.concatenate([loss.place, tail.place]), np.concatenate([loss.step, tail.step]),
        np.concatenate([loss.epoch, tail.epoch]), np.concatenate([loss.values, tail.values]),
    )  # fmt: skip


def without_zero_filter(work: Work, loss: Floats, norm: Floats | None) -> Floats:
    """Losses [T] of exactly 0 that transformers' Trainer logs for NaN ones, as NaN again.

    They stand beside a gradient norm that was logged as not finite; in a trainer_state.json
    without gradient norms, the loss goes from one entry to the next to exactly 0 and stays there.
    """
    zero = loss == 0
    if zero.sum() < ZEROS:
        return loss
    if norm is not None:
        filtered = zero & np.isinf(norm)
        how = "beside a gradient norm that is not finite"
    elif work.table.form == "trainer_state.json":
        filtered = zero & _abrupt_end(loss)
        how = "from one entry to the next"
    else:
        return loss
    if filtered.sum() < ZEROS:
        return loss
    work.note(
        f"{int(filtered.sum())} losses of exactly 0 {how} are what transformers' Trainer logs for"
        " NaN (logging_nan_inf_filter): read as NaN"
    )
    return np.where(filtered, np.nan, loss)


def _abrupt_end(loss: Floats) -> Bools:
    """The zeros at the end when the loss before them was still large, or all of them."""
    moving = np.flatnonzero(loss != 0)
    out = np.zeros(len(loss), dtype=bool)
    if not len(moving):
        return ~out
    last = int(moving[-1])
    if abs(loss[last]) > ABRUPT * abs(float(np.median(loss[moving[:3]]))):
        out[last + 1 :] = True
    return out
