"""Plain SGD at the rate of an adaptive optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, flag
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import Session


ADAPTIVE = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop")


def refusal(value: FixValue, facts: Facts) -> str:
    name = facts.optimizers[0].name if facts.optimizers else "nothing"
    return "" if name in ADAPTIVE else f"the program trains with {name}"


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import all_remedies

    all_remedies()["optimizer"].apply(session, "sgd")


def effect(value: FixValue, record: RunRecord) -> str:
    names = [optimizer.name for optimizer in record.facts.optimizers]
    return "" if names[:1] == ["SGD"] else f"steps were made by {', '.join(names) or 'nothing'}"


FAULT = Fault(
    name="optimizer",
    summary="plain SGD in place of an adaptive optimizer, at the same rate",
    values="none",
    default=True,
    source="one line changed and the rate forgotten; AUTOTRAINER swaps optimizers first",
    causes=always(Cause.OPTIMIZER_MISMATCH, Cause.LEARNING_RATE_TOO_LOW),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=flag("optimizer"),
)
