"""Hand the optimizer the trainable parameters of its model that it was not given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy, just_on, no_space
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from sweeper.program.session import Session


def refusal(facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    if not any(o.n_missing for o in facts.optimizers):
        return "every trainable parameter of the model is in an optimizer"
    return ""


def apply(session: Session, value: FixValue) -> None:
    added: list[nn.Parameter] = []

    def operate(roots: list[nn.Module]) -> None:
        from sweeper.remedies import _surgery

        known = _surgery.held(session)
        for module in _surgery.every_module(roots):
            missing = [
                p
                for p in module.parameters(recurse=False)
                if p.requires_grad and id(p) not in known
            ]
            if missing:
                _surgery.join(session, "add_missing_parameters", missing, module, roots)
                added.extend(missing)
        if not added:
            session.refuse("add_missing_parameters", "every trainable parameter is in an optimizer")
        session.confirm("add_missing_parameters", parameters=len(added), with_gradient=0)

    def check(optimizer: Optimizer) -> None:
        if session.step < 3:
            count = sum(p.grad is not None for p in added)
            session.confirm("add_missing_parameters", with_gradient=count)

    session.on_model(operate)
    session.before_step(check)


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(
        record, "add_missing_parameters", "with_gradient", "added parameter had a gradient"
    )


def advice(value: FixValue, facts: Facts) -> str:
    name = facts.optimizers[0].name if facts.optimizers else "Adam"
    return f"optimizer = torch.optim.{name}(model.parameters(), ...)  # all of them"


REMEDY = Remedy(
    name="add_missing_parameters",
    summary="hand the optimizer the trainable parameters that it was not given",
    source="torch.optim: only what a group holds is updated",
    treats=(Cause.PARAMETERS_NOT_IN_OPTIMIZER,),
    structural=False,
    space=no_space,
    refusal=refusal,
    suggest=just_on,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=_values.flag("add_missing_parameters"),
)
