"""Numbers and names as a reader meets them, the same in every file of the report."""

from __future__ import annotations

import math

from sweeper.types import Interval

LARGE = 1000.0
"""From here on three digits before the point say enough."""
LONGEST = 80
"""Characters of a name."""


def plain(name: str) -> str:
    """``learning_rate`` -> ``learning rate``; ``r2`` -> ``R squared``; clipped, as names may be
    anything."""
    return "R squared" if name == "r2" else clipped(name.replace("_", " "), LONGEST)


def clipped(text: str, most: int) -> str:
    """One line of at most so many characters, without control characters."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= most else line[: most - 3] + "..."


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def number(value: float) -> str:
    """Three significant digits; a dash where there is none."""
    return f"{value:.3g}" if math.isfinite(value) else "-"


def interval(value: Interval) -> str:
    """Such as ``0.956 (0.947 to 0.958)``; a dash where there is no number."""
    return " ".join(parts(value))


def parts(value: Interval) -> list[str]:
    """Such as ``0.956`` and ``(0.947 to 0.958)``."""
    if not math.isfinite(value.value):
        return ["-"]
    middle, low, high = (
        f"{v:.3f}" if abs(v) < LARGE else f"{v:.3g}" for v in (value.value, value.low, value.high)
    )
    return [middle, f"({low} to {high})"]
