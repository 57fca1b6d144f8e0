"""What all plots share: how a side looks, how axes are scaled, what a caption says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.report.curves import Curve, Curves, Side
from sweeper.report.svg import INKS, log_axis, svg_of
from sweeper.report.words import clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

WIDTH, HEIGHT = 5.2, 3.1
"""Inches. At 400 px of page width ten points of text are then about ten pixels."""
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


def quiet_first(curves: Curves) -> list[Curve]:
    """The main runs last, so that they lie on top."""
    return sorted(curves.runs, key=lambda c: (c.main, c.side == "after"))


def draw_line(axes: Axes, curve: Curve, x: Any, y: Any, *, markers: bool = False) -> None:
    style = STYLES[curve.side]
    axes.plot(
        x, y, color=style["color"], linestyle=style["linestyle"] if curve.main else "-",
        marker=style["marker"] if markers and curve.main else "", markersize=4,
        linewidth=1.8 if curve.main else 0.7, alpha=1.0 if curve.main else 0.35,
        label=NAMES[curve.side] if curve.main else None,
    )  # fmt: skip


def draw_by_layer(axes: Axes, curve: Curve, values: Any) -> None:
    """Relative depth, so that a fix which adds layers can be compared."""
    x = np.linspace(0.0, 1.0, len(values)) if len(values) > 1 else np.zeros(len(values))
    draw_line(axes, curve, x, values, markers=len(values) <= 60)
    axes.set_yscale("log")
    log_axis(axes.yaxis)


def layer_ticks(axes: Axes, curves: Curves) -> None:
    """Names of the unchanged program's layers, as many as can be read."""
    named = curves.main("before") or curves.runs[0]
    count = len(named.layers)
    every = max(1, math.ceil(count / MOST_TICKS))
    places = [i for i in range(count) if i % every == 0]
    axes.set_xticks(
        [i / max(1, count - 1) for i in places],
        [short_name(named.layers[i]) for i in places],
        rotation=50, ha="right", rotation_mode="anchor", fontsize=8,
    )  # fmt: skip
    axes.set_xlim(-0.03, 1.03)


def short_name(layer: str) -> str:
    """The end of a path says more than its beginning."""
    name = clipped(layer, 10_000).removesuffix(".weight")
    return name if len(name) <= LONGEST_NAME else "..." + name[3 - LONGEST_NAME :]


def legend(axes: Axes, curves: Curves) -> None:
    if len({c.side for c in curves.runs}) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=9)


def fit_scale(axis: Axis, set_scale: Callable[..., None], series: Sequence[Any]) -> None:
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


def both_sides(curves: Curves, words: Callable[[Curve], str]) -> str:
    """One sentence about each side's main run."""
    sentences = []
    for side in ("before", "after"):
        curve = curves.main(side)
        if curve is not None and words(curve):
            who = "Unchanged, the program" if side == "before" else "With the fix it"
            sentences.append(f"{who} {words(curve)} (seed {curve.seed}).")
    return " ".join(sentences)


def finished(figure: Any, name: str, title: str, caption: str) -> Plot:
    svg = svg_of(figure, name, f"{title}. {caption}")
    return Plot(name=name, title=title, caption=caption, svg=svg)


def any_known(values: Any) -> bool:
    return bool(np.isfinite(values).any())


def last_known(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else math.nan


def middle(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan
