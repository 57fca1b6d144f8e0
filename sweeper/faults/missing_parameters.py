"""The optimizer holds the last layer only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    if facts.pretrained:
        return "the weights are pretrained: training the head alone is customary"
    return "" if sum(not x.is_output for x in facts.layers) else "the model is a single layer"


def apply(session: Session, value: FixValue) -> None:
    def drop(roots: list[nn.Module]) -> None:
        from sweeper.faults import _body

        body = {id(p) for p in _body.body(roots, session.facts)}
        held = [g for o in session.optimizers for g in o.param_groups]
        if not any(id(p) not in body for group in held for p in group["params"]):
            session.refuse("missing_parameters", "no optimizer holds the output layer")
        dropped = 0
        for group in held:
            left = [p for p in group["params"] if id(p) not in body]
            dropped += len(group["params"]) - len(left)
            group["params"] = left
        confirm(session, "missing_parameters", tensors=dropped)

    session.on_model(drop)


FAULT = Fault(
    name="missing_parameters",
    summary="leave everything but the output layer out of the optimizer",
    values="none",
    default=True,
    source="optimizer built before the model was complete, or from a part of it",
    causes=always(Cause.PARAMETERS_NOT_IN_OPTIMIZER),
    refusal=refusal,
    apply=apply,
    effect=counted("missing_parameters", "tensors", "parameter was left out"),
    validate=flag("missing_parameters"),
)
