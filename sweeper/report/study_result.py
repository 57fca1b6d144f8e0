"""What a finished command hands to the report: plain data, nothing of pandas or rich."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeper.types import Diagnosis, Facts, Program, Scalar, Trial, Verdict, VerifiedFix

Alone = Literal["restored", "not restored", "not applied", "not tried"]


@dataclass(frozen=True, kw_only=True)
class RemedyRow:
    """One remedy in the attribution table."""

    remedy: str
    alone: Alone
    """What its best value did when it was the only change."""
    necessary_in: tuple[int, ...] = ()
    """Ranks of the verified fixes that fail without it."""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A verdict with all of its evidence."""

    verdict: Verdict
    verdict_reason: str
    program: Program
    facts: Facts
    diagnosis: Diagnosis
    fixes: tuple[VerifiedFix, ...] = ()
    """In any order; the report ranks them."""
    trials: tuple[Trial, ...] = ()
    remedies: tuple[RemedyRow, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    """Remedy -> why this program cannot take it."""
    importance: Mapping[str, float] = field(default_factory=dict)
    """Remedy or parameter -> share of the study's variance, 0 to 1."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """``runs``, ``training_steps``, ``wall_seconds``."""
    seeds: tuple[int, ...] = ()
    """Fresh seeds of the proof."""
    versions: Mapping[str, str] = field(default_factory=dict)
    containment: str = ""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """Option of the command line -> value, where it is not the default; a flag is True."""
    source: str = ""
    """The program's text as it was tried; bytes that are no UTF-8 are surrogates."""
    unfinished: str = ""
    """Why this is not the result of a whole study; empty when it is."""
    notes: tuple[str, ...] = ()

    @property
    def program_now(self) -> bytes | None:
        """The program's file as it lies there now, or None where it is gone."""
        try:
            return self.program.path.read_bytes()
        except OSError:
            return None

    log: Mapping[str, Any] = field(default_factory=dict)
    """Of a checked log: its path, format, columns and runs; stands for the program in
    ``verdict.json``."""
