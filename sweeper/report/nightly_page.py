"""The index page of a nightly list: one line per program, most urgent first, from disk, without
network and without JavaScript."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sweeper import __version__
from sweeper.report._atomic import write_atomically
from sweeper.report.nightly_result import SAID, Found, Line, Night
from sweeper.report.page import CELL, TEMPLATES, WORDS
from sweeper.report.page import _environment as page_environment
from sweeper.report.words import clipped, number, plain
from sweeper.types import Fix, UsageError

BADGES: Final[dict[str, tuple[str, str]]] = {
    **{str(verdict): badge for verdict, badge in WORDS.items()},
    "not_fixable": ("bad", "Not fixable"),
    **{name: ("bad", said.capitalize()) for name, said in SAID.items()},
    "fixed": ("middling", SAID["fixed"].capitalize()),
}
TREND_NIGHTS: Final = 30
COST_NIGHTS: Final = 7
WIDTH, HEIGHT, MARGIN = 120.0, 28.0, 3.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one night took, over the names that the list still has."""

    night: Night
    names: int
    reused: int
    runs: int
    steps: int
    seconds: float


def index_text(title: str, lines: Sequence[Line], night: Night) -> str:
    """The whole page."""
    failing = [line for line in lines if line.found.failing]
    broken = [line for line in failing if line.found.holds is False]
    return (
        _environment()
        .get_template("nightly.html.j2")
        .render(
            title=title,
            lines=lines,
            sentence=_sentence(
                len(lines), len(failing), sum(bool(line.found.fix) for line in failing), len(broken)
            ),
            badge="bad" if broken else "middling" if failing else "good",
            costs=_costs(lines),
            night=night,
            sweeper_version=__version__,
        )
    )


def write_index(path: Path, text: str) -> None:
    """Replace the page in one step; UsageError when it cannot be written."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise UsageError(
            f"the index page must be written to {path}, got {error.strerror}"
        ) from None


def _sentence(total: int, failing: int, known: int, broken: int) -> str:
    if not total:
        return "Nothing has been looked at yet."
    if not failing:
        return f"All {total} train." if total > 1 else "It trains."
    text = f"{failing} of {total} do not train as they stand"
    text += f"; a fix is known for {known}." if known else "."
    if broken:
        text += f" The fix of an earlier night no longer holds for {broken}."
    return text


def _badge(found: Found) -> tuple[str, str]:
    return BADGES[found.verdict]


def _label(found: Found) -> str:
    return Fix(changes=dict(found.fix)).label if found.fix else ""


def _trend(line: Line) -> Markup:
    """The metric over the nights: dots under the fix, squares of the unchanged program."""
    past = [found for _, found in line.past[-TREND_NIGHTS:]]
    after = [found.value for found in past]
    before = [found.baseline for found in past]
    known = [v for v in (*after, *before) if v is not None]
    if not known:
        return Markup("")
    low, high = min(known), max(known)
    span = (high - low) or 1.0

    def place(index: int, value: float) -> tuple[float, float]:
        x = MARGIN + index * (WIDTH - 2 * MARGIN) / max(1, len(past) - 1)
        return x, HEIGHT - MARGIN - (value - low) / span * (HEIGHT - 2 * MARGIN)

    parts = []
    for values, name, dash in ((before, "before", ' stroke-dasharray="4 2"'), (after, "after", "")):
        points = [place(i, v) for i, v in enumerate(values) if v is not None]
        if len(points) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="var(--{name})" '
                f'stroke-width="1.5"{dash}/>'
            )
        parts += [
            f'<rect x="{x - 2:.1f}" y="{y - 2:.1f}" width="4" height="4" fill="var(--{name})"/>'
            if dash
            else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="var(--{name})"/>'
            for x, y in points
        ]
    metric = plain(line.found.metric or "metric")
    nights = f"{len(past)} night" + "s" * (len(past) > 1)
    words = f"{metric} over {nights}, from {number(low)} to {number(high)}"
    return Markup(
        '<svg class="trend" role="img" aria-label="{}" width="{}" height="{}" '
        'viewBox="0 0 {} {}">{}</svg>'
    ).format(words, int(WIDTH), int(HEIGHT), int(WIDTH), int(HEIGHT), Markup("".join(parts)))


def _costs(lines: Sequence[Line]) -> list[Cost]:
    """Of the last nights, newest first."""
    nights: dict[int, tuple[Night, list[Found]]] = {}
    for line in lines:
        for night, found in line.past:
            nights.setdefault(night.id, (night, []))[1].append(found)
    return [
        Cost(
            night=night, names=len(founds), reused=sum(f.reused for f in founds),
            runs=sum(f.runs for f in founds), steps=sum(f.steps for f in founds),
            seconds=sum(f.seconds for f in founds),
        )
        for _, (night, founds) in sorted(nights.items(), reverse=True)[:COST_NIGHTS]
    ]  # fmt: skip


def _day(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment else "-"


def _days(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment)) if moment else "-"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= page_environment().filters  # the pages share their macros
    environment.filters |= {
        "badge": _badge,
        "fix_label": _label,
        "trend": _trend,
        "day": _day,
        "days": _days,
        "plain": plain,
        "number": lambda value: "none" if value is None else number(value),
        "clip": lambda text, most=CELL: clipped(str(text), most),
    }
    return environment
