"""Dropout that leaves next to nothing of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeper.faults._base import Fault, always, number, real
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    if facts.dropout or any(x.is_output for x in facts.layers):
        return ""
    return "the model has no dropout and its output layer is not known"


def apply(session: Session, value: FixValue) -> None:
    rate = real(value)

    def operate(roots: list[torch.nn.Module]) -> None:
        from torch import nn

        from sweeper.program.models import module_by_path
        from sweeper.remedies import _dropout

        if _dropout.set_rate(roots, rate):
            return
        by_path = module_by_path(roots)
        layers = session.facts.layers if session.facts else ()
        for head in [by_path[x.name] for x in layers if x.is_output and x.name in by_path]:
            drop = nn.Dropout(rate)
            drop.train(head.training)
            head.add_module("dropout_before", drop)
            head.register_forward_pre_hook(_before(drop))

    session.on_model(operate)


def _before(drop: torch.nn.Module) -> Any:
    def hook(module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (drop(args[0]), *args[1:])

    return hook


def effect(value: FixValue, record: RunRecord) -> str:
    if record.facts.dropout and max(record.facts.dropout) == real(value):
        return ""
    return f"the dropout rates were {record.facts.dropout}"


FAULT = Fault(
    name="dropout",
    summary="the rate of every dropout; before the output layer where there is none",
    values="the rate, 0 to 0.99 (default 0.95)",
    default=0.95,
    source="keep probability and drop probability mixed up; Srivastava et al. 2014 use 0.5 at most",
    causes=always(Cause.DROPOUT_TOO_STRONG),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=number("dropout", 0.01, 0.99),
)
