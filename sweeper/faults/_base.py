"""What every fault is: the inverse of a remedy. It breaks a sound program in one known way, through
the same seams, so that findings and causes can be held against a truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.types import Cause, Facts, FixValue, RunRecord, UsageError

if TYPE_CHECKING:
    from sweeper.program.session import Session


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to break a program. The driver reads it without torch; ``apply`` runs in the
    child."""

    name: str
    summary: str
    """One line for lists: what is done."""
    values: str
    """What VALUE means and may be."""
    default: FixValue
    source: str
    """Where such a fault is known from."""
    causes: Callable[[FixValue], tuple[Cause, ...]]
    """What a right diagnosis names, the most direct first."""
    refusal: Callable[[FixValue, Facts], str]
    """Why it cannot be put into this program, from the facts of a sound run; empty when it can."""
    apply: Callable[[Session, FixValue], None]
    """Register callbacks; runs before the program starts. ``session.facts`` are those of the sound
    run. What it does must look to observers as if the program did it."""
    effect: Callable[[FixValue, RunRecord], str]
    """Why the run does not show the fault; empty when it does."""
    validate: Callable[[FixValue], FixValue]
    """The canonical value, or UsageError with the rule and the value."""


def always(*causes: Cause) -> Callable[[FixValue], tuple[Cause, ...]]:
    """The same causes for every value."""
    return lambda value: causes


def number(name: str, low: float, high: float) -> Callable[[FixValue], FixValue]:
    """Validation of a finite number in [low, high]."""

    def validate(value: FixValue) -> FixValue:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not low <= value <= high
        ):
            raise UsageError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
        return float(value)

    return validate


def flag(name: str) -> Callable[[FixValue], FixValue]:
    """Validation of a fault that takes no value."""

    def validate(value: FixValue) -> FixValue:
        if value is not True:
            raise UsageError(f"{name} takes no value, got {value!r}")
        return True

    return validate


def real(value: FixValue) -> float:
    """A validated number."""
    assert isinstance(value, (int, float))
    return float(value)


def confirm(session: Session, name: str, **evidence: Any) -> None:
    """Record what a fault really did (plain JSON values)."""
    session.confirm(f"fault:{name}", **evidence)


def seen(record: RunRecord, name: str) -> dict[str, Any]:
    """What the fault confirmed about itself in this run."""
    return dict(record.outcome.applied.get(f"fault:{name}", {}))


def counted(name: str, key: str, what: str) -> Callable[[FixValue, RunRecord], str]:
    """Effect of a fault that counts what it did."""

    def effect(value: FixValue, record: RunRecord) -> str:
        if int(seen(record, name).get(key, 0)) > 0:
            return ""
        return f"no {what} in {record.outcome.steps} steps"

    return effect


def no_optimizer(value: FixValue, facts: Facts) -> str:
    return "" if facts.optimizers else "the program built no optimizer"


def classes_only(facts: Facts) -> str:
    """Why the targets are not class labels, or empty."""
    if facts.task not in ("classification", "binary"):
        return f"the targets are not class labels (the task is {facts.task.replace('_', ' ')})"
    return ""


def float_inputs_only(value: FixValue, facts: Facts) -> str:
    """Why the inputs are not measurements that could be changed, or empty."""
    from sweeper.remedies._hints import integer_inputs

    return integer_inputs(facts) if facts.input_dtype else "no tensor of inputs was seen"
