"""What the plots draw: series of a few runs, before and after, thinned to what a page can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sweeper.report.study_result import StudyResult
from sweeper.report.tables import rank
from sweeper.search.judge import LATE
from sweeper.telemetry.record import read_record
from sweeper.types import Fix, RunRecord, SweeperError, Trial, VerifiedFix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POINTS = 120
"""Most bins of a curve: one per millimetre of a printed plot."""
STEPS_PER_POINT = 5
"""So that the median of a bin is calmer than the loss of single batches; runs under 30 points keep
every step."""
MOST_SEEDS = 5
"""Further seeds drawn beside the first one of each side."""

EVALUATIONS = 3
"""Fewer of them are no curve; the accuracy of training batches then shows more."""

Side = Literal["before", "after"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run, as drawn. Unknown values are NaN."""

    side: Side
    seed: int
    folder: str
    """Of the run, relative to the study."""
    main: bool
    """The run that the legend is about; the others show how seeds differ."""
    n_steps: int
    step: Floats  # [P] mean step of each bin
    loss: Floats  # [P] median of the bin
    low: Floats  # [P] its 10 % quantile
    high: Floats  # [P] its 90 % quantile
    broken_from: int | None
    """First step after which no loss was finite, or None."""
    value_step: Floats  # [E]
    value: Floats  # [E] accuracy or R squared, as the source says
    layers: tuple[str, ...]
    gradient: Floats  # [L] per element (RMS), median over the last third
    ratio: Floats  # [L] update over weight norm, median over the last third
    similarity_step: Floats  # [A]
    similarity: Floats  # [A] mean pairwise cosine of what the head reads


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Every run that is drawn, and what the second half of them is called."""

    runs: tuple[Curve, ...]
    value_source: str
    """``evaluated accuracy``, ``batch accuracy``, ``evaluated R squared`` or nothing."""
    after: str
    """Label of the fix, or nothing where only the unchanged program was run."""
    restored: bool
    """The fix drawn is a verified one."""

    def main(self, side: Side) -> Curve | None:
        """The run that stands for a side."""
        return next((c for c in self.runs if c.side == side and c.main), None)


def best_of(result: StudyResult) -> VerifiedFix | None:
    """The first of the ranking, verified or not; None where nothing was put to the proof."""
    ranked = rank(result.fixes)
    return ranked[0] if ranked else None


def draw_from(result: StudyResult) -> Curves:
    """Read the runs to draw: the baseline and its reseeded controls, and the best fix over seeds.

    A run whose folder is gone or damaged is left out; a study without any run gives no curve.
    """
    before = [t for t in result.trials if not t.fix.changes]
    fix = best_of(result)
    chosen = fix.fix if fix else _best_try(result.trials)
    after = [t for t in result.trials if chosen and t.fix.hash == chosen.hash]
    records = [
        (side, main, trial, record)
        for side, trials in (("before", before), ("after", after))
        for main, trial in _in_order(trials)
        if (record := _record(trial)) is not None
    ]
    source = _value_source([record for _, _, _, record in records])
    return Curves(
        runs=tuple(_curve(s, m, t, r, source) for s, m, t, r in records),  # type: ignore[arg-type]
        value_source=source,
        after=chosen.label if chosen and after else "",
        restored=fix is not None and fix.verified,
    )


def _best_try(trials: Sequence[Trial]) -> Fix | None:
    """Of the changes tried, the highest score; for a study that proved nothing."""
    judged = [t for t in trials if t.fix.changes and t.judgement and not t.not_applied]
    best = max(judged, key=lambda t: t.judgement.score if t.judgement else -9.0, default=None)
    return best.fix if best else None


def _in_order(trials: Sequence[Trial]) -> list[tuple[bool, Trial]]:
    """The main run first, then a few others, one of each seed.

    Main is the program's own seed, unless searching cut its run and fresh seeds ran in full.
    """
    by_length = sorted((t for t in trials if t.outcome.ran), key=lambda t: t.outcome.steps)
    unique = {t.seed: t for t in by_length}  # the longest run of each seed
    full = 0.9 * max((t.outcome.steps for t in by_length), default=0)
    order = sorted(unique, key=lambda seed: (unique[seed].outcome.steps < full, seed))
    return [(i == 0, unique[seed]) for i, seed in enumerate(order[: 1 + MOST_SEEDS])]


def _record(trial: Trial) -> RunRecord | None:
    try:
        record = read_record(trial.folder)
    except (SweeperError, OSError, ValueError, KeyError, TypeError):
        return None
    return record if len(record.series("loss")) else None


def _value_source(records: Sequence[RunRecord]) -> str:
    """Where all of the runs have a measure of success: in the program's own evaluations if there
    are enough of them for a curve, else in the training batches."""
    for source in ("evaluated accuracy", "batch accuracy", "evaluated R squared"):
        enough = EVALUATIONS if source == "evaluated accuracy" else 2
        counts = [np.isfinite(_raw(record, source)).sum() for record in records]
        if counts and max(counts) >= enough:
            return source
    return ""


def _raw(record: RunRecord, source: str) -> Floats:
    """The series of a source at its own steps; empty where the run has none."""
    if source == "batch accuracy":
        return record.series("accuracy")
    if record.evals is None:
        return np.full(0, np.nan)
    return record.evals.accuracy if source == "evaluated accuracy" else record.evals.skill


def _known(values: Floats | None) -> bool:
    return values is not None and bool(np.isfinite(values).any())


def _curve(side: Side, main: bool, trial: Trial, record: RunRecord, source: str) -> Curve:
    loss = record.series("loss")
    steps = record.steps["step"] if "step" in record.steps else np.arange(len(loss), dtype=float)
    step, low, middle, high = _binned(steps, loss)
    value_step, value = _values(record, steps, source)
    layers = record.layers
    late = layers.step >= LATE * layers.step[-1] if layers is not None else None
    no = np.full(0, np.nan)
    similarity_step, similarity = _similarity(record)
    return Curve(
        side=side,
        seed=trial.seed,
        folder=trial.folder.name,
        main=main,
        n_steps=len(loss),
        step=step,
        loss=middle,
        low=low,
        high=high,
        broken_from=_broken_from(loss),
        value_step=value_step,
        value=value,
        layers=layers.names if layers is not None else (),
        gradient=_medians(layers.grad_norm[late]) / np.sqrt(np.asarray(layers.sizes, float))
        if layers is not None and late is not None
        else no,
        ratio=_medians(layers.update_ratio[late])
        if layers is not None and late is not None
        else no,
        similarity_step=similarity_step,
        similarity=similarity,
    )


def _binned(steps: Floats, values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean step, 10 % quantile, median and 90 % quantile of each bin; values not finite are left
    out."""
    count = min(POINTS, max(len(values) // STEPS_PER_POINT, min(len(values), 30), 1))
    bins = np.array_split(np.arange(len(values)), count)
    rows = np.full((len(bins), 4), np.nan)
    for i, index in enumerate(bins):
        known = values[index][np.isfinite(values[index])]
        rows[i, 0] = steps[index].mean()
        if len(known):
            rows[i, 1:] = np.quantile(known, [0.1, 0.5, 0.9])
    return rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]


def _broken_from(loss: Floats) -> int | None:
    """The last losses may be missing from a run that ended well: fewer than 1 % are no failure."""
    known = np.flatnonzero(np.isfinite(loss))
    last = int(known[-1]) + 1 if len(known) else 0
    return last if len(loss) - last > max(1, len(loss) // 100) else None


def _values(record: RunRecord, steps: Floats, source: str) -> tuple[Floats, Floats]:
    values = _raw(record, source) if source else np.full(0, np.nan)
    if not _known(values):
        return np.full(0, np.nan), np.full(0, np.nan)
    if source == "batch accuracy":
        step, _, middle, _ = _binned(steps, values)
        return step, middle
    assert record.evals is not None
    return record.evals.step, values


def _similarity(record: RunRecord) -> tuple[Floats, Floats]:
    series = record.activations
    no = np.full(0, np.nan)
    if series is None:
        return no, no
    known = [i for i in range(len(series.names)) if _known(series.cosine[:, i])]
    pooled = [i for i in known if series.functions[i] == "pooled"]
    column = (pooled or known)[-1:]
    return (series.step, series.cosine[:, column[0]]) if column else (no, no)


def _medians(values: Floats) -> Floats:
    """Of each layer over the samples given, [L]; NaN for a layer without any."""
    out = np.full(values.shape[1], np.nan)
    for i, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        if len(known):
            out[i] = np.median(known)
    return out
