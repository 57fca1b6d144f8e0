"""The plots of the page, drawn by matplotlib as SVG inside the page.

Why not plotly: its script alone has 4.6 MB where the page is to stay under 3 MB, and without
JavaScript it shows nothing, nor does it print or follow the reader's dark mode by itself. Here a
plot has 10 to 60 kB, and what a pointer would show on hovering is said in its caption and in the
tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.report.curves import Curve, Curves, Side
from sweeper.report.study_result import StudyResult
from sweeper.report.svg import INKS, log_axis, new_figure, settings, svg_of
from sweeper.report.tables import rank
from sweeper.report.words import clipped, number, plain
from sweeper.search.judge import HOT_RATIO, STARVED_RATIO
from sweeper.types import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

WIDTH, HEIGHT = 5.2, 3.1
"""Inches. At 400 px of page width ten points of text are then about ten pixels."""
MOST_FINDINGS = 6
MOST_FIXES = 8
MOST_TICKS = 14
LONGEST_NAME = 20
WIDE = 40.0
"""A loss that spans so many times its least value is drawn on a log scale."""
STYLES: dict[Side, dict[str, Any]] = {
    "before": {"color": INKS["before"], "linestyle": (0, (4, 1.5)), "marker": "s"},
    "after": {"color": INKS["after"], "linestyle": "-", "marker": "o"},
}
"""Told apart by dash and marker as well as by colour."""
NAMES: dict[Side, str] = {"before": "unchanged", "after": "with the fix"}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure of the page."""

    name: str
    title: str
    caption: str
    svg: str


def diagnosis_plots(curves: Curves, result: StudyResult) -> list[Plot]:
    """What happened, before and after; only what the runs have data for."""
    makers: list[Callable[[Curves, StudyResult], Plot | None]] = [
        _loss, _value, _gradient, _ratio, _similarity,
    ]  # fmt: skip
    with settings():
        return [plot for make in makers if (plot := make(curves, result)) is not None]


def ranking_plot(result: StudyResult) -> Plot | None:
    """Every seed of the best fixes beside the unchanged program; None without proven fixes."""
    with settings():
        return _seeds(result)


def _loss(curves: Curves, result: StudyResult) -> Plot | None:
    if not any(_some(c.loss) for c in curves.runs):
        return None
    findings = _marked(result)
    rows = len(findings)
    figure = new_figure(WIDTH, HEIGHT + 0.2 * rows)
    if rows:
        axes, below = figure.subplots(
            2, 1, sharex=True, height_ratios=[HEIGHT - 0.5, 0.3 + 0.2 * rows]
        )
        _strip(below, findings)
        below.set_xlabel("optimizer step")
    else:
        axes = figure.subplots()
        axes.set_xlabel("optimizer step")
    for curve in _quiet_first(curves):
        _line(axes, curve, curve.step, curve.loss)
        if curve.main:
            axes.fill_between(
                curve.step, curve.low, curve.high, alpha=0.15, linewidth=0,
                color=STYLES[curve.side]["color"],
            )  # fmt: skip
        if curve.broken_from is not None and curve.main:
            axes.axvline(curve.broken_from, color=STYLES[curve.side]["color"], linewidth=1)
    _fit_scale(axes.yaxis, axes.set_yscale, [v for c in curves.runs for v in (c.low, c.high)])
    axes.set_ylabel("training loss")
    _legend(axes, curves)
    caption = _both(curves, lambda c: _loss_words(c))
    if findings:
        caption += (
            " The bars under the curves are the critical findings and the steps they hold for."
        )
    return _plot(figure, "loss", "Training loss", caption)


def _loss_words(curve: Curve) -> str:
    if curve.broken_from is not None:
        return f"is not finite from step {curve.broken_from} on"
    tail = curve.loss[-max(1, len(curve.loss) // 10) :]
    known = tail[np.isfinite(tail)]
    return f"ends at {number(float(np.median(known)))}" if len(known) else ""


def _marked(result: StudyResult) -> list[Finding]:
    critical = [f for f in result.diagnosis.findings if f.critical]
    return sorted(critical, key=lambda f: (-f.severity, f.symptom.value))[:MOST_FINDINGS]


def _strip(axes: Axes, findings: Sequence[Finding]) -> None:
    """One bar for each finding over the steps that it holds for."""
    for row, finding in enumerate(findings):
        first, last = finding.steps
        axes.plot(
            [first, max(last, first)], [row, row], color=INKS["before"], linewidth=5,
            solid_capstyle="projecting",
        )  # fmt: skip
    axes.set_yticks(range(len(findings)), [plain(f.symptom.value) for f in findings], fontsize=9)
    axes.set_ylim(len(findings) - 0.4, -0.6)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _value(curves: Curves, result: StudyResult) -> Plot | None:
    if not any(_some(c.value) for c in curves.runs):
        return None
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    for curve in _quiet_first(curves):
        few = len(curve.value) <= 40
        _line(axes, curve, curve.value_step, curve.value, markers=few)
    if "R squared" in curves.value_source:
        _fit_scale(axes.yaxis, axes.set_yscale, [c.value for c in curves.runs])
    where, _, name = curves.value_source.partition(" ")
    axes.set_ylabel(name)
    axes.set_xlabel("optimizer step")
    _legend(axes, curves)
    how = (
        "Measured by the program's own evaluations."
        if where == "evaluated"
        else "Of the training batches, each before its update."
    )
    caption = _both(curves, lambda c: f"ends at {number(_last(c.value))}" if _some(c.value) else "")
    return _plot(figure, "value", name[:1].upper() + name[1:], f"{how} {caption}")


def _gradient(curves: Curves, result: StudyResult) -> Plot | None:
    positive = [c for c in curves.runs if (c.gradient > 0).sum() >= 2]
    if not positive:
        return None
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    for curve in _quiet_first(curves):
        _by_layer(axes, curve, np.where(curve.gradient > 0, curve.gradient, np.nan))
    axes.set_ylabel("gradient per weight (RMS)")
    _layer_ticks(axes, curves)
    _legend(axes, curves)
    caption = _both(curves, lambda c: _decades(c.gradient))
    return _plot(
        figure, "gradient", "Gradient by depth",
        f"Medians over the last third of the run, input on the left. {caption}",
    )  # fmt: skip


def _decades(values: Any) -> str:
    known = values[np.isfinite(values) & (values > 0)]
    if len(known) < 2:
        return ""
    decades = math.log10(known[-1] / known[0])
    if abs(decades) < 0.5:
        return "has about the same gradient in the first and the last layer"
    more, end = (decades, "last") if decades > 0 else (-decades, "first")
    return f"has 10^{more:.1f} times more in the {end} layer"


def _ratio(curves: Curves, result: StudyResult) -> Plot | None:
    if not any((c.ratio > 0).any() for c in curves.runs):
        return None
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    axes.axhspan(STARVED_RATIO, HOT_RATIO, color=INKS["band"], alpha=0.5, linewidth=0)
    for curve in _quiet_first(curves):
        _by_layer(axes, curve, np.where(curve.ratio > 0, curve.ratio, np.nan))
    axes.set_ylabel("update / weight per step")
    _layer_ticks(axes, curves)
    _legend(axes, curves)
    caption = _both(
        curves, lambda c: f"has a median of {number(_middle(c.ratio))}" if _some(c.ratio) else ""
    )
    still = (
        " Layers without a point never moved."
        if any((c.ratio == 0).any() for c in curves.runs)
        else ""
    )
    return _plot(
        figure, "ratio", "Update-to-weight ratio by depth",
        f"How much of a weight one step changes; outside of the shaded band ({STARVED_RATIO:g} to "
        f"{HOT_RATIO:g}) layers stand still or are replaced.{still} {caption}",
    )  # fmt: skip


def _similarity(curves: Curves, result: StudyResult) -> Plot | None:
    if not any(_some(c.similarity) for c in curves.runs):
        return None
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    for curve in _quiet_first(curves):
        _line(axes, curve, curve.similarity_step, curve.similarity, markers=True)
    axes.set_ylim(None, 1.03)
    axes.set_ylabel("mean cosine between samples")
    axes.set_xlabel("optimizer step")
    _legend(axes, curves)
    caption = _both(
        curves, lambda c: f"ends at {number(_last(c.similarity))}" if _some(c.similarity) else ""
    )
    return _plot(
        figure, "similarity", "Similarity of pooled representations",
        f"1 means that the head gets the same input whatever the sample. {caption}",
    )  # fmt: skip


def _seeds(result: StudyResult) -> Plot | None:
    """Strips: one dot for each fresh seed, a bar over the interval of the median."""
    fixes = [f for f in rank(result.fixes) if f.trials][:MOST_FIXES]
    if not fixes:
        return None
    seeds = {t.seed for f in fixes for t in f.trials}
    controls = [
        t.judgement.metric for t in result.trials
        if not t.fix.changes and t.seed in seeds and t.judgement is not None
    ]  # fmt: skip
    rows: list[tuple[str, list[float], Side]] = [
        (
            f"{position}  {clipped(fix.fix.label, 34)}",
            [t.judgement.metric for t in fix.trials if t.judgement is not None],
            "after",
        )
        for position, fix in enumerate(fixes, start=1)
    ]
    rows.append(("unchanged", controls, "before"))
    if not any(math.isfinite(v) for _, values, _ in rows for v in values):
        return None
    figure = new_figure(WIDTH, 0.8 + 0.36 * len(rows))
    axes = figure.subplots()
    for row, (_, values, side) in enumerate(rows):
        known = [v for v in values if math.isfinite(v)]
        style = STYLES[side]
        axes.plot(
            known, [row] * len(known), linestyle="", marker=style["marker"], markersize=6,
            color=style["color"], alpha=0.6,
        )  # fmt: skip
    for row, fix in enumerate(fixes):
        if math.isfinite(fix.metric.value):
            axes.plot(
                [fix.metric.low, fix.metric.high],
                [row + 0.28] * 2,
                color=INKS["ink"],
                linewidth=1.2,
            )
            axes.plot([fix.metric.value], [row + 0.28], marker="|", color=INKS["ink"], markersize=8)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{plain(fixes[0].metric_name)} on fresh seeds")
    _fit_scale(axes.xaxis, axes.set_xscale, [values for _, values, _ in rows])
    axes.grid(visible=False, axis="y")
    return _plot(
        figure, "seeds", "Each fresh seed",
        "One dot for each seed; under the dots the median with its interval. Seeds whose run gave "
        "no finite number have no dot.",
    )  # fmt: skip


def _quiet_first(curves: Curves) -> list[Curve]:
    """The main runs last, so that they lie on top."""
    return sorted(curves.runs, key=lambda c: (c.main, c.side == "after"))


def _line(axes: Axes, curve: Curve, x: Any, y: Any, *, markers: bool = False) -> None:
    style = STYLES[curve.side]
    axes.plot(
        x, y, color=style["color"], linestyle=style["linestyle"] if curve.main else "-",
        marker=style["marker"] if markers and curve.main else "", markersize=4,
        linewidth=1.8 if curve.main else 0.7, alpha=1.0 if curve.main else 0.35,
        label=NAMES[curve.side] if curve.main else None,
    )  # fmt: skip


def _by_layer(axes: Axes, curve: Curve, values: Any) -> None:
    """Relative depth, so that a fix which adds layers can be compared."""
    x = np.linspace(0.0, 1.0, len(values)) if len(values) > 1 else np.zeros(len(values))
    _line(axes, curve, x, values, markers=len(values) <= 60)
    axes.set_yscale("log")
    log_axis(axes.yaxis)


def _layer_ticks(axes: Axes, curves: Curves) -> None:
    """Names of the unchanged program's layers, as many as can be read."""
    named = curves.main("before") or curves.runs[0]
    count = len(named.layers)
    every = max(1, math.ceil(count / MOST_TICKS))
    places = [i for i in range(count) if i % every == 0]
    axes.set_xticks(
        [i / max(1, count - 1) for i in places],
        [_short_name(named.layers[i]) for i in places],
        rotation=50, ha="right", rotation_mode="anchor", fontsize=8,
    )  # fmt: skip
    axes.set_xlim(-0.03, 1.03)


def _short_name(layer: str) -> str:
    """The end of a path says more than its beginning."""
    name = clipped(layer, 10_000).removesuffix(".weight")
    return name if len(name) <= LONGEST_NAME else "..." + name[3 - LONGEST_NAME :]


def _legend(axes: Axes, curves: Curves) -> None:
    if len({c.side for c in curves.runs}) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=9)


def _fit_scale(axis: Axis, set_scale: Callable[..., None], series: Sequence[Any]) -> None:
    """Log where positive values span decades; logarithmic outside of -1 to 1 where a score falls
    far below zero, so that one diverged run does not hide the others."""
    values = np.concatenate([np.asarray(v, float) for v in series])
    known = values[np.isfinite(values)]
    if not len(known):
        return
    if known.min() > 0 and known.max() / known.min() > WIDE:
        set_scale("log")
    elif known.min() < -WIDE:
        set_scale("symlog", linthresh=1.0)
    else:
        return
    log_axis(axis)


def _both(curves: Curves, words: Callable[[Curve], str]) -> str:
    """One sentence about each side's main run."""
    sentences = []
    for side in ("before", "after"):
        curve = curves.main(side)
        if curve is not None and words(curve):
            who = "Unchanged, the program" if side == "before" else "With the fix it"
            sentences.append(f"{who} {words(curve)} (seed {curve.seed}).")
    return " ".join(sentences)


def _plot(figure: Any, name: str, title: str, caption: str) -> Plot:
    svg = svg_of(figure, name, f"{title}. {caption}")
    return Plot(name=name, title=title, caption=caption, svg=svg)


def _some(values: Any) -> bool:
    return bool(np.isfinite(values).any())


def _last(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else math.nan


def _middle(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan
