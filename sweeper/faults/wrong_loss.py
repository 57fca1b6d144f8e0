"""A loss that does not fit what the model gives."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    from sweeper.program.session import LossCall, Session


SQUARED = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


def refusal(value: FixValue, facts: Facts) -> str:
    if facts.loss_function == "cross_entropy":
        return ""
    if facts.loss_function in SQUARED:
        return "" if facts.head_width == 1 else "its squared loss has several outputs"
    return f"there is no wrong form of {facts.loss_function or 'an unknown loss'} here"


def apply(session: Session, value: FixValue) -> None:
    import warnings

    warnings.filterwarnings("ignore", message="Using a target size")
    calls = 0

    def spoil(call: LossCall) -> LossCall:
        nonlocal calls
        if not call.input.requires_grad:
            return call
        if call.function == "cross_entropy" and not call.target.is_floating_point():
            kept = {"weight", "ignore_index", "reduction"}
            options = {k: v for k, v in call.options.items() if k in kept}
            call = dataclasses.replace(call, function="nll_loss", options=options)
        elif call.function in SQUARED and call.input.numel() == call.target.numel():
            column, row = call.input.reshape(-1, 1), call.target.reshape(-1)
            call = dataclasses.replace(call, input=column, target=row)
        else:
            return call
        calls += 1
        confirm(session, "wrong_loss", calls=calls)
        return call

    session.on_loss(spoil)


FAULT = Fault(
    name="wrong_loss",
    summary="nll_loss on raw scores, or a column of predictions against a row of targets",
    values="none",
    default=True,
    source="torch warns of the broadcast only; UMLAUT checks head and loss",
    causes=always(Cause.WRONG_LOSS),
    refusal=refusal,
    apply=apply,
    effect=counted("wrong_loss", "calls", "loss was replaced"),
    validate=flag("wrong_loss"),
)
