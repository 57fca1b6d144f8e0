"""Give a loss that expects logits the logits, where the model ends in a softmax or sigmoid."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy, just_on, no_space
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import LossCall, Session

LOSSES = ("cross_entropy", "binary_cross_entropy_with_logits")
"""They apply the softmax or sigmoid themselves. nll_loss and binary_cross_entropy do not: there it
is right."""


def refusal(facts: Facts) -> str:
    if facts.loss_function not in LOSSES:
        name = facts.loss_function or "not known"
        return f"the loss ({name}) does not apply a softmax or sigmoid itself"
    if facts.output_activation not in ("softmax", "sigmoid"):
        ends = facts.output_activation or "no softmax or sigmoid"
        extra = ", which cross_entropy leaves as it is" if ends == "log_softmax" else ""
        return f"the model ends in {ends}{extra}"
    return ""


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import _logits

    taps: list[_logits.Tap] = []
    outputs = _logits.Outputs()
    calls = 0

    def operate(roots: list[nn.Module]) -> None:
        taps.extend(_logits.tap(roots))
        for root in roots:
            root.register_forward_hook(outputs)

    def restore(call: LossCall) -> LossCall:
        nonlocal calls
        if call.function not in LOSSES:
            return call
        logits, how = _logits.before_squashing(call.input, taps, call.function)
        if logits is None:
            return call
        if call.input.requires_grad:
            calls += 1
            if calls <= 3:
                session.confirm("drop_output_softmax", calls=calls, how=how)
        return dataclasses.replace(call, input=logits)

    session.on_model(operate)
    session.on_loss(restore)
    session.functions.wrap(("sigmoid", "softmax"), outputs.squashed_again)
    session.functions.wrap(("gt", "__gt__", "ge", "__ge__"), outputs.compared)


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(
        record, "drop_output_softmax", "calls", "training loss was given its logits"
    )


def advice(value: FixValue, facts: Facts) -> str:
    name = facts.output_activation or "softmax"
    loss = (
        "nn.CrossEntropyLoss" if facts.loss_function == "cross_entropy" else "nn.BCEWithLogitsLoss"
    )
    return f"remove the {name} at the end of the model: {loss} applies it itself"


REMEDY = Remedy(
    name="drop_output_softmax",
    summary="give the loss the logits before the model's last softmax or sigmoid",
    source="torch.nn.CrossEntropyLoss: the input is expected to contain unnormalised logits",
    treats=(Cause.SOFTMAX_BEFORE_LOSS,),
    structural=False,
    space=no_space,
    refusal=refusal,
    suggest=just_on,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=_values.flag("drop_output_softmax"),
)
