"""Gradients are never cleared, so those of all steps add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeper.faults._base import Fault, always, flag, no_optimizer
from sweeper.types import Cause, FixValue, RunRecord

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


def apply(session: Session, value: FixValue) -> None:
    def keep(*args: Any, **kwargs: Any) -> None:
        """In place of zero_grad."""

    def forget(optimizer: torch.optim.Optimizer) -> None:
        vars(optimizer)["zero_grad"] = keep

    def forget_models(roots: list[torch.nn.Module]) -> None:
        for root in roots:
            for module in root.modules():
                vars(module)["zero_grad"] = keep

    session.on_optimizer(forget)
    session.on_model(forget_models)


def effect(value: FixValue, record: RunRecord) -> str:
    if not record.facts.grads_zeroed:
        return ""
    return "the program clears its gradients in another way than by zero_grad"


FAULT = Fault(
    name="no_zero_grad",
    summary="make zero_grad do nothing",
    values="none",
    default=True,
    source="torch notes: gradients accumulate unless they are cleared",
    causes=always(Cause.MISSING_ZERO_GRAD),
    refusal=no_optimizer,
    apply=apply,
    effect=effect,
    validate=flag("no_zero_grad"),
)
