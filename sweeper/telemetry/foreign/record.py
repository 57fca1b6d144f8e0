"""One run of a foreign log -> a `RunRecord` with the signals that the log has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from sweeper.telemetry.foreign import levels
from sweeper.telemetry.foreign.choose import Part
from sweeper.telemetry.foreign.names import words_of
from sweeper.telemetry.foreign.steps import Order, put_in_order
from sweeper.telemetry.foreign.table import Table
from sweeper.types import EvalSeries, Facts, Fix, OptimizerFact, Outcome, RunRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.types import Floats

    Ints = NDArray[np.int64]

Task = Literal["classification", "regression", "language_model"]
TASKS: tuple[Task, ...] = ("classification", "regression", "language_model")
ZEROS = 3
"""Losses of exactly 0 in a row that a NaN filter left (transformers' logging_nan_inf_filter)."""
ABRUPT = 0.01
"""Share of the first losses from which a fall to exactly 0 is no training."""
FULL = 0.95
"""Share of the rows with a loss from which an empty cell means NaN (pandas writes it so)."""
TAIL = 0.2
"""First step over the last from which a log is the later part of a run (design)."""
LANGUAGE = frozenset({"perplexity", "ppl", "token", "tokens", "bpb", "bpc"})
SQUARED = frozenset({"mse", "rmse", "mae"})


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What the user says beside the log."""

    classes: int = 0
    task: Task | None = None


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


@dataclass
class _Series:
    """Values of one column of a run: place in the file, step, epoch and value, [N] each."""

    place: Ints
    step: Floats
    epoch: Floats
    values: Floats


@dataclass
class _Work:
    """What is known of one run while it is put together."""

    table: Table
    part: Part
    hints: Hints
    notes: list[str] = field(default_factory=list)

    def series(self, role: str) -> _Series | None:
        """The values of a role; held-out ones are those of its rows that a phase calls so."""
        column = self.part.columns.get(role)
        if column is None:
            return None
        rows = self.part.rows & self.table.given[:, column]
        shared = self.part.columns.get(role.removeprefix("val_")) == column
        by_phase = bool(self.part.held.any()) and self.table.columns[column].reading.split == ""
        if by_phase and role not in ("lr", "grad_norm"):
            rows &= self.part.held if role.startswith("val_") else ~self.part.held
        elif shared and role.startswith("val_"):
            return None
        at = np.flatnonzero(rows)
        return _Series(
            place=self.table.numbers[at], step=self._axis("step", at),
            epoch=self._axis("epoch", at), values=self.table.values[at, column],
        ) if len(at) else None  # fmt: skip

    def _axis(self, role: str, at: Ints) -> Floats:
        column = self.part.columns.get(role)
        if column is None:
            return np.full(len(at), np.nan)
        return np.where(self.table.given[at, column], self.table.values[at, column], np.nan)

    def name(self, role: str) -> str:
        return self.table.columns[self.part.columns[role]].name

    def note(self, *texts: str) -> None:
        self.notes.extend(t for t in texts if t not in self.notes)


def runs_of(table: Table, part: Part, hints: Hints) -> list[ForeignRun]:
    """The runs that one part of a table holds: usually one, more when runs were appended."""
    work = _Work(table=table, part=part, hints=hints, notes=[*table.notes, *part.notes])
    main, main_role = _main_series(work)
    if main is None:
        return []
    axis_name, axis = _axis_of(work, main)
    order = _order(work, main, axis_name, axis)
    work.note(*order.notes)
    out = []
    for number in range(int(order.run.max()) + 1 if len(order.run) else 0):
        rows = order.run == number
        name = part.name if order.run.max() == 0 else f"{part.name} #{number + 1}".strip()
        first = int(main.place[order.rows[rows]].min())
        last = int(main.place[order.rows[order.run == number + 1]].min(initial=np.iinfo(int).max))
        one = Order(rows=order.rows[rows], step=order.step[rows], run=order.run[rows])
        out.append(_run(work, name, main, main_role, one, (first, last), axis_name))
    return [run for run in out if run is not None]


def _main_series(work: _Work) -> tuple[_Series | None, str]:
    """The series whose rows are the rows of the record."""
    for role in ("loss", "perplexity", "accuracy", "error", "grad_norm", "val_loss",
                 "val_perplexity", "val_accuracy", "val_error"):  # fmt: skip
        series = work.series(role)
        if series is not None:
            if role == "val_loss":
                work.note("no training loss was logged: the held-out loss is read in its place")
            elif role == "loss":
                series = _with_lost_nan(work, series)
            return series, role
    return None, ""


def _with_lost_nan(work: _Work, loss: _Series) -> _Series:
    """Rows at the end whose loss is empty in a column that was full before: NaN as pandas writes
    it. Rows of another kind (an evaluation at the end) hold columns that loss rows never have."""
    table, part = work.table, work.part
    column = part.columns["loss"]
    rows = np.flatnonzero(part.rows & ~part.held)
    given = table.given[rows, column]
    if table.by_step or given.all():
        return loss
    last = int(np.flatnonzero(given)[-1])
    first = int(np.flatnonzero(given)[0])
    behind = rows[last + 1 :]
    usual = table.given[rows[given]].any(axis=0)
    alike = behind[~table.given[behind][:, ~usual].any(axis=1)]
    if not len(alike) or len(alike) < len(behind) or given[first : last + 1].mean() < FULL:
        return loss
    work.note(
        f"{work.name('loss')!r} is empty in the last {len(behind)} rows and full before: read as"
        " NaN"
    )
    return _Series(
        place=np.concatenate([loss.place, table.numbers[behind]]),
        step=np.concatenate([loss.step, work._axis("step", behind)]),
        epoch=np.concatenate([loss.epoch, work._axis("epoch", behind)]),
        values=np.concatenate([loss.values, np.full(len(behind), np.nan)]),
    )


def _axis_of(work: _Work, main: _Series) -> tuple[str, Floats]:
    """Step, else epoch, else nothing: what most rows of the main series have."""
    for role, values in (("step", main.step), ("epoch", main.epoch)):
        if np.isfinite(values).mean() >= 0.9:
            return role, values
    return "", np.full(len(main.place), np.nan)


def _order(work: _Work, main: _Series, axis: str, values: Floats) -> Order:
    breaks = [b for b in work.table.breaks if main.place[0] < b <= main.place[-1]]
    if breaks and not work.table.by_step:
        pieces: list[tuple[Order, int]] = []
        notes: list[str] = []
        bounds = np.searchsorted(main.place, [0, *breaks, main.place[-1] + 1])
        for low, high in pairwise(bounds.tolist()):
            if high > low:
                piece = slice(low, high)
                found = put_in_order(
                    values[piece], main.epoch[piece], main.values[piece],
                    name=work.name(axis) if axis else "", counter=True,
                )  # fmt: skip
                pieces.append((found, low))
                notes.extend(found.notes)
        count = 0
        runs = []
        for found, _ in pieces:
            runs.append(found.run + count)
            count += int(found.run.max()) + 1
        notes.append(f"the header is repeated {len(breaks)} times: {count} runs")
        return Order(
            rows=np.concatenate([f.rows + low for f, low in pieces]),
            step=np.concatenate([f.step for f, _ in pieces]), run=np.concatenate(runs),
            notes=tuple(notes),
        )  # fmt: skip
    counting = {"batch", "iter", "iteration", "i", "idx", "it", "index"}
    return put_in_order(
        values, main.epoch, main.values, name=work.name(axis) if axis else "",
        counter=bool(axis and counting & set(words_of(work.name(axis)))),
    )  # fmt: skip


def _run(
    work: _Work, name: str, main: _Series, main_role: str, order: Order,
    bounds: tuple[int, int], axis: str,
) -> ForeignRun | None:  # fmt: skip
    """One run: rows of the main series in order, everything else laid beside them."""
    place = main.place[order.rows]
    total = len(place)
    at = order.step if work.table.by_step or not (np.diff(place) > 0).all() else place.astype(float)
    beside = _Beside(work=work, at=at, by_step=at is order.step, bounds=bounds, axis=axis)
    steps: dict[str, Floats] = {"step": order.step}
    values = main.values[order.rows]
    points = {main_role: int(total)}
    if main_role in ("loss", "val_loss"):
        loss = values
    elif main_role.endswith("perplexity"):
        loss = _log(values)
    else:
        loss = np.full(total, np.nan)
    accuracy = _accuracy(work, beside, "", points)
    for role in ("grad_norm", "lr"):
        found = beside.series(role)
        if found is not None:
            steps[role] = beside.onto(found, hold=role == "lr")
            points[role] = len(found.values)
    if main_role in ("loss", "perplexity"):
        loss = _without_filter(work, loss, steps.get("grad_norm"), main, order)
    steps["loss"] = loss
    if accuracy is not None and np.isfinite(accuracy).any():
        steps["accuracy"] = accuracy
    evals = _evals(work, beside, points)
    facts = _facts(work, steps, evals, total)
    if facts.loss_function:
        steps["task_loss"] = loss
    if "accuracy" in steps:
        steps["n"] = levels.samples_behind(steps["accuracy"])
    roles = {role: work.name(role) for role in points}
    if axis:
        roles[axis] = work.name(axis)
    record = RunRecord(
        folder=None, fix=Fix(), seed=0, max_steps=None,
        outcome=Outcome(status="finished", steps=total), facts=facts, steps=steps, layers=None,
        activations=None, evals=evals, rows=_kind(work, order.step, axis),
    )  # fmt: skip
    return ForeignRun(
        name=name, record=record, columns=roles, points=points, notes=tuple(work.notes)
    )


@dataclass
class _Beside:
    """Lays the values of other columns beside the rows of the main series."""

    work: _Work
    at: Floats
    """Place of the main rows on the common axis, increasing [T]."""
    by_step: bool
    bounds: tuple[int, int]
    axis: str

    def series(self, role: str) -> _Series | None:
        """The role's values within this run."""
        found = self.work.series(role)
        if found is None or self.work.table.by_step:
            return found
        inside = (found.place >= self.bounds[0]) & (found.place < self.bounds[1])
        # What stands above the first row of a run but behind the last one of the run before it
        # belongs to neither for certain; it is read with the run before.
        if not inside.any():
            return None
        return _Series(
            place=found.place[inside],
            step=found.step[inside],
            epoch=found.epoch[inside],
            values=found.values[inside],
        )

    def place(self, series: _Series) -> Floats:
        """Where the values are on the common axis."""
        if not self.by_step:
            return series.place.astype(float)
        own = series.step if self.axis != "epoch" else series.epoch
        own = np.where(np.isfinite(own), own, np.nan)
        if not np.isfinite(own).any():
            return np.linspace(self.at[0], self.at[-1], len(own))
        top, last = float(np.nanmax(own)), float(self.at[-1])
        if len(own) >= 3 and top < 0.2 * last and len(own) <= top + 2:
            # Evaluations counted by epoch beside losses counted by step.
            self.work.note(
                f"some values are numbered to {top:g} beside losses to {last:g}: they are spread"
                " evenly over the run"
            )
            return np.asarray((own + 1) / (top + 1) * last)
        return own

    def onto(self, series: _Series, hold: bool) -> Floats:
        """Values at the main rows [T]: each at the last row not behind it; held until the next."""
        out = np.full(len(self.at), np.nan)
        where = self.place(series)
        order = np.argsort(where, kind="stable")
        index = np.searchsorted(self.at, where[order], side="right") - 1
        out[np.maximum(index, 0)] = series.values[order]
        if hold:
            known = np.isfinite(out)
            if known.any():
                last = np.maximum.accumulate(np.where(known, np.arange(len(out)), -1))
                out = np.where(last >= 0, out[np.maximum(last, 0)], out[known][0])
        return out


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def _accuracy(work: _Work, beside: _Beside, prefix: str, points: dict[str, int]) -> Floats | None:
    """Training accuracy [T] as a share; error rates are turned over."""
    found = _share(work, beside, prefix, points)
    return beside.onto(found, hold=False) if found is not None else None


def _share(work: _Work, beside: _Beside, prefix: str, points: dict[str, int]) -> _Series | None:
    for role in ("accuracy", "error"):
        found = beside.series(prefix + role)
        if found is None:
            continue
        column = work.table.columns[work.part.columns[prefix + role]]
        values = levels.as_share(found.values, column.reading.percent)
        if values is None:
            work.note(f"{column.name!r} is no accuracy: its values leave [0, 100]")
            continue
        found.values = values if role == "accuracy" else 1 - values
        points[prefix + role] = len(values)
        return found
    return None


def _without_filter(
    work: _Work, loss: Floats, norm: Floats | None, main: _Series, order: Order
) -> Floats:
    """Losses of exactly 0 that transformers' Trainer logs for NaN ones, as NaN again.

    With a gradient norm logged as not finite beside them; without any gradient norm when the loss
    goes to exactly 0 from one entry to the next and stays there, in a trainer_state.json.
    """
    zero = loss == 0
    if zero.sum() < ZEROS:
        return loss
    column = work.part.columns.get("grad_norm")
    if column is not None and norm is not None:
        given = set(work.table.numbers[work.table.given[:, column]].tolist())
        beside = np.array([p in given for p in main.place[order.rows].tolist()])
        filtered = zero & beside & ~np.isfinite(norm)
    elif work.table.form == "trainer_state.json":
        filtered = zero & _abrupt_end(loss)
    else:
        return loss
    if filtered.sum() < ZEROS:
        return loss
    work.note(
        f"{int(filtered.sum())} losses of exactly 0"
        + (" without a finite gradient norm" if norm is not None else " from one entry to the next")
        + " are what transformers' Trainer logs for NaN (logging_nan_inf_filter): read as NaN"
    )
    return np.where(filtered, np.nan, loss)


def _abrupt_end(loss: Floats) -> NDArray[np.bool_]:
    """The zeros at the end when the loss before them was still large."""
    moving = np.flatnonzero(loss != 0)
    out = np.zeros(len(loss), dtype=bool)
    if not len(moving):
        out[:] = True
        return out
    last = int(moving[-1])
    if abs(loss[last]) > ABRUPT * abs(float(np.median(loss[moving[:3]]))):
        out[last + 1 :] = True
    return out


def _evals(work: _Work, beside: _Beside, points: dict[str, int]) -> EvalSeries | None:
    loss = beside.series("val_loss") if "loss" in points else None
    if loss is None and "loss" in points and (found := beside.series("val_perplexity")) is not None:
        found.values = _log(found.values)
        loss = found
    if loss is not None:
        points["val_loss" if "val_loss" in work.part.columns else "val_perplexity"] = len(
            loss.values
        )
    accuracy = _share(work, beside, "val_", points) if "val_accuracy" not in points else None
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
    step = np.searchsorted(beside.at, places, side="right").astype(float)
    n = levels.samples_behind(columns[1])
    unknown = np.full(len(places), np.nan)
    return EvalSeries(
        step=step, n=np.where(np.isfinite(n), n, levels.ASSUMED_EVALUATED), loss=columns[0],
        accuracy=columns[1], skill=unknown, fresh_share=unknown,
    )  # fmt: skip


def _facts(work: _Work, steps: Mapping[str, Floats], evals: EvalSeries | None, total: int) -> Facts:
    hints, loss = work.hints, steps["loss"]
    accuracy = steps.get("accuracy")
    if accuracy is None and evals is not None and len(evals.accuracy) >= 0.5 * total:
        accuracy = evals.accuracy
    words = {w for i in work.part.columns.values() for w in words_of(work.table.columns[i].name)}
    classes = hints.classes
    if not classes and accuracy is not None and hints.task != "regression":
        classes = levels.guess_classes(loss, accuracy)
        if classes:
            work.note(
                f"{classes} classes, by first losses near ln {classes} and first accuracies near"
                f" 1/{classes}; --classes says otherwise"
            )
    task: Literal["classification", "binary", "regression", "language_model", "unknown"] = (
        hints.task or _task(words, classes, work)
    )
    if task not in ("classification", "language_model"):
        classes = 0
    tail = _is_tail(steps["step"])
    if tail:
        work.note(
            f"the log begins at step {steps['step'][0]:g}: it is the later part of a run, whose"
            " loss need not fall any more"
        )
    early = loss[np.isfinite(loss)][: levels.FIRST]
    low = classes > 1 and len(early) and float(np.median(early)) < 0.5 * math.log(classes)
    lr = steps.get("lr", np.zeros(0))
    lr = lr[np.isfinite(lr)]
    one = OptimizerFact(
        name="", peak_lr=(float(lr.max()) if len(lr) else math.nan,),
        first_lr=float(lr[0]) if len(lr) else math.nan,
        last_lr=float(lr[-1]) if len(lr) else math.nan,
        weight_decay=math.nan, momentum=math.nan, n_parameters=0, n_frozen=0, n_without_grad=0,
        n_missing=0,
    )  # fmt: skip
    rivals = work.part.adversarial or work.table.reinforcement
    if work.part.adversarial:
        work.note("two losses are trained against each other: their levels say nothing")
    elif work.table.reinforcement:
        work.note("reinforcement learning: the loss does not measure what was learned")
    return Facts(
        task=task, n_classes=classes, head_width=classes,
        class_prior=(1 / classes,) * classes if classes else (),
        loss_function="cross_entropy" if classes else "", batch_size=work.table.batch_size,
        optimizers=(one, one) if rivals else (one,), n_roots=2 if rivals else 1,
        backwards_per_step=2 if rivals else 1, pretrained=bool(tail or low), steps=total,
    )  # fmt: skip


def _task(
    words: set[str], classes: int, work: _Work
) -> Literal["classification", "regression", "language_model", "unknown"]:
    if words & LANGUAGE or any(r.endswith("perplexity") for r in work.part.columns):
        return "language_model"
    if classes:
        return "classification"
    return "regression" if words & SQUARED else "unknown"


def _is_tail(step: Floats) -> bool:
    """A log that begins far behind the start of its run."""
    if len(step) < 3:
        return False
    gap = float(np.median(np.diff(step)))
    return bool(step[0] > max(TAIL * step[-1], 3 * gap))


def _kind(work: _Work, step: Floats, axis: str) -> Literal["entries", "epochs"]:
    """Whether rows are epochs: no step, one row an epoch; or a loss that is named so."""
    if work.part.per_epoch:
        return "epochs"
    if axis != "epoch" or len(step) < 2:
        return "entries"
    return "epochs" if float(np.median(np.diff(step))) >= 1 else "entries"
