"""The weight decay in the optimizer's constructor."""

from __future__ import annotations

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import literal, with_argument
from sweeper.report.code._places import optimizer_call
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts, Fix


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    value = fix.changes["weight_decay"]
    assert isinstance(value, (int, float))
    call = optimizer_call(script, facts)
    if call.args and "weight_decay" in script.source(call.args[0]):
        raise Unsure("the parameter groups name weight decays of their own")
    if len(facts.optimizers[0].peak_lr) > 1:
        raise Unsure(
            "there are several parameter groups, and one of them may be without on purpose"
        )
    # By keyword alone: where it stands among the positional arguments differs between classes.
    piece = with_argument(script, call, "weight_decay", None, literal(float(value)))
    if len(call.args) > 2:
        raise Unsure("the constructor has positional arguments behind the rate")
    return Placed(pieces=(piece,))


EDIT = CodeEdit(remedy="weight_decay", edit=edit)
