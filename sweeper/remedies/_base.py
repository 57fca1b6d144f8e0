"""What every remedy is: one lever, when it applies, its values, how it is applied and how that is
confirmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import Session


def nothing_milder(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    """For remedies that are on or off."""
    return ()


def no_space(facts: Facts) -> Mapping[str, Dimension]:
    """For remedies that are on or off."""
    return {}


def just_on(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    """For remedies that are on or off."""
    return (True,)


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One lever. The driver side reads it without torch; only ``apply`` runs in the child."""

    name: str
    summary: str
    """One line for lists and reports."""
    source: str
    """Where the remedy and its usual values come from."""
    treats: tuple[Cause, ...]
    structural: bool
    """It changes what the model computes, not only how it is trained."""
    space: Callable[[Facts], Mapping[str, Dimension]]
    """Parameter -> range for this program; empty for a remedy that is on or off.

    ``validate`` takes a mapping with just these keys too, so that a sampled point is a value.
    """
    refusal: Callable[[Facts], str]
    """Why it cannot apply to this program, naming the fact; empty when it can."""
    suggest: Callable[[Facts, Diagnosis], tuple[FixValue, ...]]
    """One to three values worth trying alone, best first."""
    apply: Callable[[Session, FixValue], None]
    """Register callbacks; runs before the program starts."""
    effect: Callable[[FixValue, RunRecord], str]
    """Why the run does not show what was promised; empty when it does."""
    advice: Callable[[FixValue, Facts], str]
    """The code that a person would type instead."""
    validate: Callable[[FixValue], FixValue]
    """The canonical value, or UsageError with the rule and the value."""
    toward_baseline: Callable[[FixValue, Facts], tuple[FixValue, ...]] = nothing_milder
    """Milder values on the way back to the program's own, mildest first."""
