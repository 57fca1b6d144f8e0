"""The label_smoothing argument of cross-entropy."""

from __future__ import annotations

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import literal, with_argument
from sweeper.report.code._losses import EVALUATED, loss_call
from sweeper.report.code._script import Script
from sweeper.types import Facts, Fix


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    amount = fix.changes["label_smoothing"]
    assert isinstance(amount, (int, float))
    call = loss_call(script, facts)
    piece = with_argument(script, call, "label_smoothing", None, literal(float(amount)))
    return Placed(pieces=(piece,), note=EVALUATED)


EDIT = CodeEdit(remedy="label_smoothing", edit=edit)
