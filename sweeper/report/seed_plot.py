"""The plot beside the ranking: every fresh seed of the best fixes and of the unchanged program."""

from __future__ import annotations

import math

from sweeper.report._draw import STYLES, WIDTH, Plot, finished, fit_scale
from sweeper.report.curves import Side
from sweeper.report.study_result import StudyResult
from sweeper.report.svg import INKS, new_figure, settings
from sweeper.report.tables import rank
from sweeper.report.words import clipped, plain

MOST_FIXES = 8


def ranking_plot(result: StudyResult) -> Plot | None:
    """Every seed of the best fixes beside the unchanged program; None without proven fixes."""
    with settings():
        return _seeds(result)


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
    fit_scale(axes.xaxis, axes.set_xscale, [values for _, values, _ in rows])
    axes.grid(visible=False, axis="y")
    return finished(
        figure, "seeds", "Each fresh seed",
        "One dot for each seed; under the dots the median with its interval. Seeds whose run gave "
        "no finite number have no dot.",
    )  # fmt: skip
