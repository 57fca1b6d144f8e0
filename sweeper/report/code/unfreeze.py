"""requires_grad stays on where the program switches it off."""

from __future__ import annotations

import ast

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import Facts, Fix


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    pieces: list[Piece] = []
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Assign) and _is_false(node.value):
            if any(
                isinstance(t, ast.Attribute) and t.attr == "requires_grad" for t in node.targets
            ):
                pieces.append(script.replaced(node.value, "True"))
        elif isinstance(node, ast.Call) and _switches_off(node):
            pieces.append(script.replaced(node.args[0], "True"))
    if not pieces:
        raise Unsure("no place in the file switches requires_grad off")
    if len(pieces) > 1:
        raise Unsure(f"{len(pieces)} places switch requires_grad off")
    note = "the optimizer gets its parameters in another order" if facts.clips else ""
    return Placed(pieces=tuple(pieces), note=note)


def _switches_off(call: ast.Call) -> bool:
    named = isinstance(call.func, ast.Attribute) and call.func.attr == "requires_grad_"
    return named and bool(call.args) and _is_false(call.args[0])


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


EDIT = CodeEdit(remedy="unfreeze", edit=edit)
