"""What a detector is: a pure function of a run record with named, checked thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from sweeper.types import Finding, RunRecord, Symptom, UsageError


def limit(default: float, low: float, high: float, unit: str) -> Any:
    """A threshold field with the range it must stay in (both ends allowed) and what it counts."""
    return field(default=default, metadata={"low": low, "high": high, "unit": unit})


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Base of every detector's thresholds; each field is made with ``limit`` and checked once."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            low, high = item.metadata["low"], item.metadata["high"]
            if not (isinstance(value, (int, float)) and math.isfinite(value)):
                rule = f"threshold {item.name} must be a finite number"
            elif not low <= value <= high:
                rule = f"threshold {item.name} must be in [{low:g}, {high:g}]"
            else:
                continue
            raise UsageError(f"{rule}, got {value!r} in {type(self).__name__}")


@dataclass(frozen=True)
class Insufficient:
    """The record lacks what the detector needs; that is an answer, not an error."""

    reason: str


Detected = Finding | Insufficient | None


@dataclass(frozen=True, kw_only=True)
class Detector:
    """One symptom: what it means, where the definition comes from, and how it is found."""

    symptom: Symptom
    definition: str
    source: str
    thresholds: Thresholds
    detect: Callable[[RunRecord, Any], Detected]

    def run(self, record: RunRecord) -> Detected:
        return self.detect(record, self.thresholds)
