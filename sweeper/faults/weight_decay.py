"""A weight decay that wins against the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, number, real
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    return "LBFGS has no weight decay" if facts.optimizers[0].name == "LBFGS" else ""


def apply(session: Session, value: FixValue) -> None:
    decay = real(value)

    def put(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            if "weight_decay" in group:
                group["weight_decay"] = decay

    session.on_optimizer(put)
    session.at_step(put)


def effect(value: FixValue, record: RunRecord) -> str:
    found = [optimizer.weight_decay for optimizer in record.facts.optimizers]
    return "" if found and found[0] == real(value) else f"the weight decay was {found}"


FAULT = Fault(
    name="weight_decay",
    summary="give every parameter group a huge weight decay",
    values="the decay (default 1)",
    default=1.0,
    source="over-regularisation in TheDeepChecker",
    causes=always(Cause.WEIGHT_DECAY_TOO_STRONG),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=number("weight_decay", 1e-6, 1e4),
)
