"""Which runs failed, by the program's own evaluation alone: no detector is asked."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from detection_parts.grid import Case, Subject, cut, each, printed
from sweeper.telemetry.record import read_record

Truth = Literal["harmful", "harmless", "healthy", "unsound"]

LOST = 0.5
"""A fault is harmful when the run keeps less than this share of the sound run's skill."""
KEPT = 0.8
"""A control is healthy when it keeps at least this share."""


def kept_skill(cases: Sequence[Case], subjects: Sequence[Subject]) -> dict[Case, float]:
    """Share of the sound skill over chance that each run's final evaluation kept.

    The sound metric is the median over the unchanged runs of the program. -inf for a run that
    ended without a finite metric. A run that was cut for its time says nothing and is left out.
    """
    given = {s.name: s.chance for s in subjects}
    kinds = {s.name: s.kind for s in subjects}
    out: dict[Case, float] = {}
    for name, own in each(cases):
        values = {case: printed(case.folder) for case in own}
        plain = [values[c] for c in own if not c.fault and math.isfinite(values[c][0])]
        if not plain:
            continue
        sound = statistics.median(metric for metric, _ in plain)
        told = [chance for _, chance in plain if math.isfinite(chance)]
        chance = statistics.median(told) if told else given[name]
        if not math.isfinite(chance):
            chance = _usual(kinds[name], next(c for c in own if not c.fault))
        if not math.isfinite(chance):
            raise SystemExit(f"{name} must print a line `chance VALUE`, or cases.toml say it")
        for case in own:
            if cut(case.folder):
                continue
            metric = values[case][0]
            out[case] = (metric - chance) / (sound - chance) if math.isfinite(metric) else -math.inf
    return out


def _usual(kind: str, case: Case) -> float:
    """Chance where nobody says it: the commonest class of the training targets, the mean target."""
    prior = read_record(case.folder).facts.class_prior if kind == "accuracy" else ()
    return 0.0 if kind == "r2" else max(prior, default=math.nan)


def truth(case: Case, kept: float) -> Truth:
    if not case.mild:
        return "harmful" if kept < LOST else "harmless"
    return "healthy" if kept >= KEPT else "unsound"
