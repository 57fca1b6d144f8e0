"""Train the parameters that the program froze."""

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
    if not (facts.n_frozen or any(o.n_frozen for o in facts.optimizers)):
        return "no parameter of the model is frozen"
    if not facts.optimizers:
        return "the program built no optimizer"
    if facts.pretrained:
        return "the frozen weights are pretrained; freezing those is customary, so unfreeze by hand"
    return ""


def apply(session: Session, value: FixValue) -> None:
    frozen: list[nn.Parameter] = []
    reached: set[int] = set()

    def operate(roots: list[nn.Module]) -> None:
        from sweeper.remedies import _surgery

        known = _surgery.held(session)
        for module in _surgery.every_module(roots):
            own = [
                p
                for p in module.parameters(recurse=False)
                if not p.requires_grad and (p.is_floating_point() or p.is_complex())
            ]
            for parameter in own:
                parameter.requires_grad_(True)
            frozen.extend(own)
            if missing := [p for p in own if id(p) not in known]:
                _surgery.join(session, "unfreeze", missing, module, roots)
        if not frozen:
            session.refuse("unfreeze", "no parameter of the model is frozen when training begins")
        session.confirm("unfreeze", parameters=len(frozen), with_gradient=0)

    def check(optimizer: Optimizer) -> None:
        # Steps inside of backward clear each gradient before the next one comes.
        if session.step < 3:
            reached.update(id(p) for p in frozen if p.grad is not None)
            session.confirm("unfreeze", with_gradient=len(reached))

    session.on_model(operate, first=True)  # surgery leaves alone what is frozen
    session.before_step(check)


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(
        record, "unfreeze", "with_gradient", "unfrozen parameter had a gradient"
    )


def advice(value: FixValue, facts: Facts) -> str:
    return "for p in model.parameters(): p.requires_grad = True  # where False is set now"


REMEDY = Remedy(
    name="unfreeze",
    summary="train the parameters that the program froze",
    source="torch notes on autograd; a body frozen at random weights learns nothing",
    treats=(Cause.FROZEN_PARAMETERS,),
    structural=False,
    space=no_space,
    refusal=refusal,
    suggest=just_on,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=_values.flag("unfreeze"),
)
