"""The whole model's parameters in the optimizer's constructor instead of a part's."""

from __future__ import annotations

import ast

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._places import optimizer_call
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts, Fix


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    call = optimizer_call(script, facts)
    first = call.args[0] if call.args else None
    if not (
        isinstance(first, ast.Call)
        and isinstance(first.func, ast.Attribute)
        and first.func.attr == "parameters"
        and isinstance(first.func.value, ast.Attribute)
    ):
        raise Unsure("the optimizer is not given the parameters of one part of the model")
    whole: ast.expr = first.func.value
    while isinstance(whole, ast.Attribute):
        whole = whole.value
    if not isinstance(whole, ast.Name) or whole.id == "self":
        raise Unsure("what the whole model is called there is not certain")
    if facts.n_roots != 1:
        raise Unsure(f"the program has {facts.n_roots} models")
    note = "the norm of all gradients sums its layers in another order (rounding)"
    return Placed(
        pieces=(script.replaced(first, f"{whole.id}.parameters()"),),
        note=note if facts.clips or "clip_norm" in fix.changes else "",
    )


EDIT = CodeEdit(remedy="add_missing_parameters", edit=edit)
