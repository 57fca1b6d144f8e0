"""The plots of the page, drawn by matplotlib as SVG inside the page.

Why not plotly: its script alone has 4.8 MB (plotly.min.js of 7.1.0) where the page is to stay
under 3 MB, and without JavaScript it shows nothing, nor does it follow the reader's dark mode by
itself. Here a plot of a study of 68 runs has 15 to 50 kB, and what a pointer would show on hovering
is said in its caption and in the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.report._draw import (
    HEIGHT,
    STYLES,
    WIDTH,
    Plot,
    any_known,
    both_sides,
    draw_by_layer,
    draw_line,
    finished,
    fit_scale,
    last_known,
    layer_ticks,
    legend,
    middle,
    quiet_first,
)
from sweeper.report.curves import Curve, Curves
from sweeper.report.study_result import StudyResult
from sweeper.report.svg import INKS, new_figure, settings
from sweeper.report.words import number, plain
from sweeper.search.judge import HOT_RATIO, STARVED_RATIO
from sweeper.types import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_FINDINGS = 6


def diagnosis_plots(curves: Curves, result: StudyResult) -> list[Plot]:
    """What happened, before and after; only what the runs have data for."""
    makers: list[Callable[[Curves, StudyResult], Plot | None]] = [
        _loss, _value, _gradient, _ratio, _similarity,
    ]  # fmt: skip
    with settings():
        return [plot for make in makers if (plot := make(curves, result)) is not None]


def _loss(curves: Curves, result: StudyResult) -> Plot | None:
    if not any(any_known(c.loss) for c in curves.runs):
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
    for curve in quiet_first(curves):
        draw_line(axes, curve, curve.step, curve.loss)
        if curve.main:
            axes.fill_between(
                curve.step, curve.low, curve.high, alpha=0.15, linewidth=0,
                color=STYLES[curve.side]["color"],
            )  # fmt: skip
        if curve.broken_from is not None and curve.main:
            axes.axvline(curve.broken_from, color=STYLES[curve.side]["color"], linewidth=1)
    fit_scale(axes.yaxis, axes.set_yscale, [v for c in curves.runs for v in (c.low, c.high)])
    axes.set_ylabel("training loss")
    legend(axes, curves)
    caption = both_sides(curves, lambda c: _loss_words(c))
    if findings:
        caption += (
            " The bars under the curves are the critical findings and the steps they hold for."
        )
    return finished(figure, "loss", "Training loss", caption)


def _end(values: Any) -> str:
    return f"ends at {number(last_known(values))}" if any_known(values) else ""


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
    if not any(any_known(c.value) for c in curves.runs):
        return None
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    for curve in quiet_first(curves):
        few = len(curve.value) <= 40
        draw_line(axes, curve, curve.value_step, curve.value, markers=few)
    if "R squared" in curves.value_source:
        fit_scale(axes.yaxis, axes.set_yscale, [c.value for c in curves.runs])
    where, _, name = curves.value_source.partition(" ")
    axes.set_ylabel(name)
    axes.set_xlabel("optimizer step")
    legend(axes, curves)
    how = (
        "Measured by the program's own evaluations."
        if where == "evaluated"
        else "Of the training batches, each before its update."
    )
    caption = both_sides(curves, lambda c: _end(c.value))
    return finished(figure, "value", name[:1].upper() + name[1:], f"{how} {caption}")


def _gradient(curves: Curves, result: StudyResult) -> Plot | None:
    positive = [c for c in curves.runs if (c.gradient > 0).sum() >= 2]
    if not positive:
        return None
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    for curve in quiet_first(curves):
        draw_by_layer(axes, curve, np.where(curve.gradient > 0, curve.gradient, np.nan))
    axes.set_ylabel("gradient per weight (RMS)")
    layer_ticks(axes, curves)
    legend(axes, curves)
    caption = both_sides(curves, lambda c: _decades(c.gradient))
    return finished(
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
    for curve in quiet_first(curves):
        draw_by_layer(axes, curve, np.where(curve.ratio > 0, curve.ratio, np.nan))
    axes.set_ylabel("update / weight per step")
    layer_ticks(axes, curves)
    legend(axes, curves)
    caption = both_sides(
        curves, lambda c: f"has a median of {number(middle(c.ratio))}" if any_known(c.ratio) else ""
    )
    still = (
        " Layers without a point never moved."
        if any((c.ratio == 0).any() for c in curves.runs)
        else ""
    )
    return finished(
        figure, "ratio", "Update-to-weight ratio by depth",
        f"How much of a weight one step changes; outside of the shaded band ({STARVED_RATIO:g} to "
        f"{HOT_RATIO:g}) layers stand still or are replaced.{still} {caption}",
    )  # fmt: skip


def _similarity(curves: Curves, result: StudyResult) -> Plot | None:
    if not any(any_known(c.similarity) for c in curves.runs):
        return None
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    for curve in quiet_first(curves):
        draw_line(axes, curve, curve.similarity_step, curve.similarity, markers=True)
    axes.set_ylim(None, 1.03)
    axes.set_ylabel("mean cosine between samples")
    axes.set_xlabel("optimizer step")
    legend(axes, curves)
    caption = both_sides(
        curves,
        lambda c: f"ends at {number(last_known(c.similarity))}" if any_known(c.similarity) else "",
    )
    return finished(
        figure, "similarity", "Similarity of pooled representations",
        f"1 means that the head gets the same input whatever the sample. {caption}",
    )  # fmt: skip
