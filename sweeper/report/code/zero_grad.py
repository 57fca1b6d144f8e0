"""Clear the gradients behind the optimizer's step."""

from __future__ import annotations

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._places import step_of
from sweeper.report.code._script import Script
from sweeper.types import Facts, Fix


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    step = step_of(script, facts)
    # Behind the step and not before backward: right also where gradients of several batches add up.
    line = f"{step.optimizer}.zero_grad()"
    return Placed(pieces=(script.after(step.statement, line),))


EDIT = CodeEdit(remedy="zero_grad", edit=edit)
