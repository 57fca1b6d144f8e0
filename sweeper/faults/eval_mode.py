"""Training in eval mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeper.faults._base import Fault, always, flag
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    if facts.norms or facts.dropout:
        return ""
    return "the model has neither normalisation nor dropout: the mode changes nothing"


def apply(session: Session, value: FixValue) -> None:
    def switch(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if module.training:
            module.eval()
        return args, kwargs

    session.on_input(switch)


def effect(value: FixValue, record: RunRecord) -> str:
    return "" if record.facts.trained_in_eval_mode else "training forwards ran in train mode"


FAULT = Fault(
    name="eval_mode",
    summary="train in eval mode",
    values="none",
    default=True,
    source="model.eval() before an evaluation inside the loop and no model.train() after it",
    causes=always(Cause.TRAINED_IN_EVAL_MODE),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=flag("eval_mode"),
)
