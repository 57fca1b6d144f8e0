"""A schedule that spends the rate within the first steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeper.faults._base import Fault, always, confirm, counted, no_optimizer, number, real
from sweeper.types import Cause, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


def apply(session: Session, value: FixValue) -> None:
    factor = real(value)
    own: list[tuple[dict[str, Any], Any]] = []

    def put(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            own.append((group, group["lr"]))
            group["lr"] = group["lr"] * factor**session.step
        confirm(session, "early_decay", steps=session.step)

    def back(optimizer: torch.optim.Optimizer) -> None:
        while own:
            group, rate = own.pop()
            group["lr"] = rate

    session.at_step(put)
    session.after_step(back)


FAULT = Fault(
    name="early_decay",
    summary="multiply the rate once more at every step",
    values="the factor of each step, 0.01 to 0.99 (default 0.7)",
    default=0.7,
    source="a schedule meant for epochs that is stepped for every batch",
    causes=always(Cause.SCHEDULE_DECAYS_TOO_FAST),
    refusal=no_optimizer,
    apply=apply,
    effect=counted("early_decay", "steps", "rate fell"),
    validate=number("early_decay", 0.01, 0.99),
)
