"""A softmax before cross_entropy, which applies its own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    from sweeper.program.session import LossCall, Session


LOSS = "cross_entropy"


def refusal(value: FixValue, facts: Facts) -> str:
    if facts.loss_function != LOSS:
        return f"the loss is {facts.loss_function or 'not known'}, not {LOSS}"
    return f"the model ends in {facts.output_activation}" if facts.output_activation else ""


def apply(session: Session, value: FixValue) -> None:
    calls = 0

    def squash(call: LossCall) -> LossCall:
        import torch

        nonlocal calls
        if call.function != LOSS:
            return call
        calls += 1
        confirm(session, "softmax_output", calls=calls)
        return dataclasses.replace(
            call, input=torch.softmax(call.input, dim=1 if call.input.dim() > 1 else 0)
        )

    session.on_loss(squash)


FAULT = Fault(
    name="softmax_output",
    summary="put a softmax before cross_entropy, which applies its own",
    values="none",
    default=True,
    source="torch.nn docs of the loss; checked by UMLAUT and TheDeepChecker too",
    causes=always(Cause.SOFTMAX_BEFORE_LOSS),
    refusal=refusal,
    apply=apply,
    effect=counted("softmax_output", "calls", "loss was given probabilities"),
    validate=flag("softmax_output"),
)
