"""How people write times."""

from __future__ import annotations

import re


def seconds(text: str) -> float | None:
    """``90``, ``90s``, ``10m``, ``2h`` in seconds; ``none`` is no limit; ValueError else."""
    if text == "none":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    value = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not value > 0:
        raise ValueError(f"a time such as 90, 90s, 10m or 2h, got {text!r}")
    return value
