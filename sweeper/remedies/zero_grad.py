"""Clear the gradients after each step, where the program never does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy, just_on, no_space
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from sweeper.program.session import Session


def refusal(facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    return "the program clears its gradients between steps already" if facts.grads_zeroed else ""


def apply(session: Session, value: FixValue) -> None:
    steps = 0

    def clear(optimizer: Optimizer) -> None:
        nonlocal steps
        had = False
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                had |= parameter.grad is not None
                parameter.grad = None
        steps += had
        session.confirm("zero_grad", cleared_steps=steps)

    session.after_step(clear)


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(
        record, "zero_grad", "cleared_steps", "gradient was there to be cleared"
    )


def advice(value: FixValue, facts: Facts) -> str:
    return "optimizer.zero_grad()  # before every loss.backward()"


REMEDY = Remedy(
    name="zero_grad",
    summary="clear the gradients after each step",
    source="torch adds gradients up by design (torch.Tensor.backward)",
    treats=(Cause.MISSING_ZERO_GRAD,),
    structural=False,
    space=no_space,
    refusal=refusal,
    suggest=just_on,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=_values.flag("zero_grad"),
)
