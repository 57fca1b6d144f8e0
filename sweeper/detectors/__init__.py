"""What is wrong: one file per symptom, found by walking this package."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from sweeper.detectors._base import Detector, Insufficient
from sweeper.detectors._documented import Number, thresholds_of
from sweeper.types import Finding, RunRecord, Symptom

__all__ = [
    "ROOTS_FIRST", "Detector", "Insufficient", "Number", "all_detectors", "detect_all",
    "thresholds_of",
]  # fmt: skip

ROOTS_FIRST = (
    Symptom.NON_FINITE,
    Symptom.BAD_INITIAL_LOSS,
    Symptom.EXPLODING_GRADIENT,
    Symptom.VANISHING_GRADIENT,
    Symptom.STARVED_UPDATES,
    Symptom.DEAD_UNITS,
    Symptom.SATURATED_UNITS,
    Symptom.COLLAPSED_REPRESENTATION,
    Symptom.DIVERGENCE,
    Symptom.LOSS_SPIKE,
    Symptom.OSCILLATION,
    Symptom.OVERFITTING,
    Symptom.CHANCE_LEVEL,
    Symptom.FLAT_LOSS,
)
"""Order of telling among findings of equal severity: what explains comes before what is
explained."""


@cache
def all_detectors() -> dict[str, Detector]:
    """Every detector of the package by symptom name, sorted."""
    found: dict[str, Detector] = {}
    for module in pkgutil.iter_modules(__path__):
        unit = getattr(importlib.import_module(f"{__name__}.{module.name}"), "DETECTOR", None)
        if isinstance(unit, Detector):
            found[unit.symptom.value] = unit
    return dict(sorted(found.items()))


def detect_all(record: RunRecord) -> tuple[tuple[Finding, ...], dict[str, str]]:
    """Findings of every detector, critical ones first, and what the silent ones lacked."""
    findings: list[Finding] = []
    insufficient: dict[str, str] = {}
    for name, detector in all_detectors().items():
        result = detector.run(record)
        if isinstance(result, Finding):
            findings.append(result)
        elif isinstance(result, Insufficient):
            insufficient[name] = result.reason
    findings.sort(key=lambda f: (not f.critical, ROOTS_FIRST.index(f.symptom)))
    return tuple(findings), insufficient
