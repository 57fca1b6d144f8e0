"""The index page of a nightly list: one line per program, most urgent first, from disk, without
network and without JavaScript."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sweeper import __version__
from sweeper.report._atomic import write_atomically
from sweeper.report.nightly_result import Found, Line, Night
from sweeper.report.page import CELL, TEMPLATES, WORDS
from sweeper.report.page import _environment as page_environment
from sweeper.report.words import clipped, number, plain
from sweeper.types import Fix, UsageError

REFUSED: Final = ("bad", "Could not be looked at")
TREND_NIGHTS: Final = 30
WIDTH, HEIGHT, MARGIN = 120.0, 28.0, 3.0


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
            sentence=_sentence(len(lines), len(failing), len(broken)),
            badge="bad" if broken else "middling" if failing else "good",
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


def _sentence(total: int, failing: int, broken: int) -> str:
    if not total:
        return "Nothing has been looked at yet."
    if not failing:
        return f"All {total} train." if total > 1 else "It trains."
    text = f"{failing} of {total} do not train as they stand."
    if broken:
        text += f" The fix of an earlier night no longer holds for {broken}."
    return text


def _badge(found: Found) -> tuple[str, str]:
    if found.verdict == "refused":
        return REFUSED
    return WORDS[found.verdict]  # type: ignore[index]


def _label(found: Found) -> str:
    return Fix(changes=dict(found.fix)).label if found.fix else ""


def _trend(line: Line) -> Markup:
    """The metric over the nights: filled points under the fix, open ones of the unchanged
    program."""
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
    for values, name in ((before, "before"), (after, "after")):
        points = [place(i, v) for i, v in enumerate(values) if v is not None]
        if len(points) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="var(--{name})" stroke-width="1.5"/>'
            )
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="var(--{name})"/>' for x, y in points
        ]
    metric = plain(line.found.metric or "metric")
    words = f"{metric} over {len(past)} nights, from {number(low)} to {number(high)}"
    return Markup(
        '<svg class="trend" role="img" aria-label="{}" width="{}" height="{}" '
        'viewBox="0 0 {} {}">{}</svg>'
    ).format(words, int(WIDTH), int(HEIGHT), int(WIDTH), int(HEIGHT), Markup("".join(parts)))


def _day(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment else "-"


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
        "plain": plain,
        "number": lambda value: "-" if value is None else number(value),
        "clip": lambda text, most=CELL: clipped(str(text), most),
    }
    return environment
