"""All but the last layer keep the weights they were drawn with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    if facts.pretrained:
        return "the weights are pretrained: freezing those is customary"
    return "" if sum(not x.is_output for x in facts.layers) else "the model is a single layer"


def apply(session: Session, value: FixValue) -> None:
    def freeze(roots: list[nn.Module]) -> None:
        from sweeper.faults import _body

        frozen = _body.body(roots, session.facts)
        for parameter in frozen:
            parameter.requires_grad_(False)
        confirm(session, "frozen_body", tensors=len(frozen))

    session.on_model(freeze)


FAULT = Fault(
    name="frozen_body",
    summary="freeze everything but the output layer at its first weights",
    values="none",
    default=True,
    source="fine-tuning code run without pretrained weights",
    causes=always(Cause.FROZEN_PARAMETERS),
    refusal=refusal,
    apply=apply,
    effect=counted("frozen_body", "tensors", "parameter was frozen"),
    validate=flag("frozen_body"),
)
