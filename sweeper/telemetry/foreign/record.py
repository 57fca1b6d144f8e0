"""One run of a foreign log -> a `RunRecord` with the signals that the log has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from sweeper.telemetry.foreign import levels
from sweeper.telemetry.foreign.choose import Part
from sweeper.telemetry.foreign.facts import Hints, facts_of
from sweeper.telemetry.foreign.names import words_of
from sweeper.telemetry.foreign.repairs import with_lost_nan, without_zero_filter
from sweeper.telemetry.foreign.series import Beside, Series, Work
from sweeper.telemetry.foreign.steps import Order, put_in_order
from sweeper.telemetry.foreign.table import Table
from sweeper.types import EvalSeries, Fix, Outcome, RunRecord

if TYPE_CHECKING:
    from sweeper.types import Floats

MAIN = (
    "loss", "perplexity", "accuracy", "error", "grad_norm", "val_loss", "val_perplexity",
    "val_accuracy", "val_error",
)  # fmt: skip
"""Series whose rows can be the rows of the record, the best first."""
LARGEST = 1e60
"""Size above which a loss or a gradient norm is no number any more (float32 ends at 3e38)."""
COUNTERS = frozenset({"batch", "iter", "iteration", "i", "idx", "it", "index"})
"""Words of columns that often count within an epoch."""


@dataclass(frozen=True, kw_only=True)
class ForeignRun:
    """One run of a log, ready for the detectors."""

    name: str
    record: RunRecord
    columns: Mapping[str, str]
    """Role -> the column it was read from."""
    points: Mapping[str, int]
    """Role -> values read from it."""
    notes: tuple[str, ...]


def runs_of(table: Table, part: Part, hints: Hints) -> list[ForeignRun]:
    """The runs that one part of a table holds: usually one, more when runs were appended."""
    work = Work(table=table, part=part, notes=list(table.notes))
    role = next((r for r in MAIN if work.series(r) is not None), "")
    main = work.series(role)
    if main is None:
        return []
    if role == "loss":
        main = with_lost_nan(work, main)
    elif role == "val_loss":
        work.note("no training loss was logged: the held-out loss is read in its place")
    if part.others and not part.adversarial:
        names = ", ".join(map(repr, part.others[:5]))
        work.note(f"other losses were not read: {names}; --columns loss=NAME takes another")
    axis = _axis_of(main)
    order = _order(work, main, axis)
    work.note(*order.notes)
    if order.counted:
        axis = ""
    last = int(order.run.max())
    return [
        _run(
            f"{part.name} #{run + 1}".strip() if last else part.name, work, role, hints,
            Beside(work=work, main=main, order=order, run=run, axis=axis),
        )
        for run in range(last + 1)
    ]  # fmt: skip


def _axis_of(main: Series) -> Literal["step", "epoch", ""]:
    """What most rows of the main series have."""
    if np.isfinite(main.step).mean() >= 0.9:
        return "step"
    return "epoch" if np.isfinite(main.epoch).mean() >= 0.9 else ""


def _order(work: Work, main: Series, axis: str) -> Order:
    values = {"step": main.step, "epoch": main.epoch}.get(axis, np.full(len(main.place), np.nan))
    name = work.name(axis) if axis else ""
    counter = bool(COUNTERS & set(words_of(name)))
    breaks = [b for b in work.table.breaks if main.place[0] < b <= main.place[-1]]
    if not breaks or work.table.by_step:
        return put_in_order(values, main.epoch, main.values, name=name, counter=counter)
    bounds = np.searchsorted(main.place, [0, *breaks, main.place[-1] + 1]).tolist()
    parts: list[tuple[int, Order]] = []
    for low, high in pairwise(bounds):
        if high > low:
            cut = slice(low, high)
            parts.append(
                (low, put_in_order(values[cut], main.epoch[cut], main.values[cut], name=name,
                                   counter=True))
            )  # fmt: skip
    notes = [n for _, found in parts for n in found.notes]
    return Order(
        rows=np.concatenate([found.rows + low for low, found in parts]),
        step=np.concatenate([found.step for _, found in parts]),
        run=np.concatenate([np.full(len(f.rows), i, np.int64) for i, (_, f) in enumerate(parts)]),
        notes=(*notes, f"the header is repeated: {len(parts)} runs one behind the other"),
    )


def _run(name: str, work: Work, role: str, hints: Hints, beside: Beside) -> ForeignRun:
    """One run: rows of the main series in order, everything else laid beside them."""
    steps: dict[str, Floats] = {"step": beside.step}
    points = {role: len(beside.rows)}
    for other in ("grad_norm", "lr"):
        found = beside.series(other)
        if found is not None:
            if other == "grad_norm":  # a gradient that was logged as NaN is not an unknown one
                known = _bounded(found.values)
                found = found.with_values(np.where(np.isnan(known), np.inf, known))
            steps[other] = beside.onto(found, hold=other == "lr")
            points[other] = len(found.values)
    values = _bounded(beside.main.values[beside.rows])
    if role.endswith("perplexity"):
        values = _log(values)
    if role.endswith(("loss", "perplexity")):
        steps["loss"] = without_zero_filter(work, values, steps.get("grad_norm"))
    accuracy = _share(work, beside, "", points)
    if accuracy is not None:
        steps["accuracy"] = beside.onto(accuracy)
        steps["n"] = levels.samples_behind(steps["accuracy"])
    evals = _evals(work, beside, role, points)
    facts = facts_of(work, hints, steps, evals)
    if facts.loss_function:
        steps["task_loss"] = steps["loss"]
        steps.setdefault("n", np.full(len(beside.rows), float(levels.ASSUMED_BATCH)))
    roles = {r: work.name(r) for r in points} | ({beside.axis: work.name(beside.axis)}
                                                 if beside.axis else {})  # fmt: skip
    record = RunRecord(
        folder=None, fix=Fix(), seed=0, max_steps=None,
        outcome=Outcome(status="finished", steps=len(beside.rows)), facts=facts, steps=steps,
        layers=None, activations=None, evals=evals, rows=_kind(work, beside, evals),
    )  # fmt: skip
    return ForeignRun(
        name=name, record=record, columns=roles, points=points, notes=tuple(work.notes)
    )


def _bounded(values: Floats) -> Floats:
    """Values that no arithmetic could follow count as infinite."""
    return np.where(np.abs(values) > LARGEST, np.copysign(np.inf, values), values)


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(values))


def _share(work: Work, beside: Beside, prefix: str, points: dict[str, int]) -> Series | None:
    """Accuracies in [0, 1]; error rates are turned over."""
    for role in (f"{prefix}accuracy", f"{prefix}error"):
        found = beside.series(role)
        if found is None:
            continue
        column = work.table.columns[work.part.columns[role]]
        values = levels.as_share(found.values, column.reading.percent)
        if values is None:
            work.note(f"{column.name!r} is no accuracy: its values leave [0, 100]")
            continue
        points[role] = len(values)
        return found.with_values(values if role.endswith("accuracy") else 1 - values)
    return None


def _evals(work: Work, beside: Beside, main_role: str, points: dict[str, int]) -> EvalSeries | None:
    loss = beside.series("val_loss") if main_role != "val_loss" else None
    if loss is not None:
        points["val_loss"] = len(loss.values)
        loss = loss.with_values(_bounded(loss.values))
    elif main_role != "val_perplexity" and (found := beside.series("val_perplexity")) is not None:
        loss = found.with_values(_log(found.values))
        points["val_perplexity"] = len(loss.values)
    accuracy = _share(work, beside, "val_", points)
    known = [s for s in (loss, accuracy) if s is not None]
    if not known:
        return None
    places = np.unique(np.concatenate([beside.place(s) for s in known]))
    places = places[np.isfinite(places)]
    columns = []
    for series in (loss, accuracy):
        out = np.full(len(places), np.nan)
        if series is not None:
            where = beside.place(series)
            sound = np.isfinite(where)
            out[np.searchsorted(places, where[sound])] = series.values[sound]
        columns.append(out)
    n = levels.samples_behind(columns[1])
    unknown = np.full(len(places), np.nan)
    return EvalSeries(
        step=np.searchsorted(beside.at, places, side="right").astype(float),
        n=np.where(np.isfinite(n), n, levels.ASSUMED_EVALUATED), loss=columns[0],
        accuracy=columns[1], skill=unknown, fresh_share=unknown, rare_n=unknown,
        rare_correct=unknown,
    )  # fmt: skip


def _kind(work: Work, beside: Beside, evals: EvalSeries | None) -> Literal["entries", "epochs"]:
    """Whether rows are epochs (or as long): one row an epoch, an evaluation with every row, or a
    loss that is named so."""
    if evals is not None and len(evals.step) >= 0.9 * len(beside.step):
        return "epochs"
    by_epoch = beside.axis == "epoch" and len(beside.step) > 1
    whole = by_epoch and float(np.median(np.diff(beside.step))) >= 1
    return "epochs" if work.part.per_epoch or whole else "entries"
