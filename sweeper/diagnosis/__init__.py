"""Why it is wrong: one file per cause, found by walking this package."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from sweeper.detectors import detect_all
from sweeper.diagnosis._base import CauseRule, Evidence
from sweeper.types import Diagnosis, Hypothesis, RunRecord

if TYPE_CHECKING:
    from sweeper.telemetry.record import Captured

LEAST_BELIEF = 0.08
"""Hypotheses under this are not told."""
CERTAIN = 0.9
"""Belief from which the costly probes are not asked any more."""
ROOT = 0.5
"""Belief from which a cause takes belief away from what it explains."""


@cache
def all_causes() -> dict[str, CauseRule]:
    """Every cause rule of the package by name, sorted."""
    found: dict[str, CauseRule] = {}
    for module in pkgutil.iter_modules(__path__):
        unit = getattr(importlib.import_module(f"{__name__}.{module.name}"), "CAUSE", None)
        if isinstance(unit, CauseRule):
            found[unit.cause.value] = unit
    return dict(sorted(found.items()))


def diagnose(record: RunRecord, captured: Captured | None = None) -> Diagnosis:
    """Findings of a run and the causes that explain them, most believed first; no causes for a
    healthy run."""
    findings, insufficient = detect_all(record)
    if not any(f.critical for f in findings):
        return Diagnosis(findings=findings, hypotheses=(), insufficient=insufficient)
    evidence = Evidence(record, findings, captured)
    rules = all_causes().values()
    found = [h for rule in rules if not rule.probe and (h := rule.ask(evidence))]
    if max((h.belief for h in found), default=0.0) < CERTAIN:
        found += [h for rule in rules if rule.probe and (h := rule.ask(evidence))]
    return Diagnosis(findings=findings, hypotheses=order(found), insufficient=insufficient)


def order(found: list[Hypothesis]) -> tuple[Hypothesis, ...]:
    """Most believed first, after each believed cause has taken its share from those it explains.

    A dependant keeps the share ``1 - belief`` of its own belief (explaining away), at least a
    fifth.
    """
    rules = all_causes()
    roots = {h.cause: h for h in found if h.belief >= ROOT}
    told = []
    for dependant in found:
        left = dependant.belief
        for root in roots.values():
            mutual = root.cause in rules[dependant.cause].explains
            if dependant.cause in rules[root.cause].explains and not (
                mutual and root.belief <= dependant.belief
            ):
                left *= max(0.2, 1 - root.belief)
        told.append(replace(dependant, belief=round(left, 3)))
    told.sort(key=lambda h: (-h.belief, h.cause.value))
    return tuple(h for h in told if h.belief >= LEAST_BELIEF)
