"""Train mode at the start of every training step."""

from __future__ import annotations

import ast

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._places import model_name, step_of
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts, Fix


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    step = step_of(script, facts)
    loop = next(
        (n for n in script.above(step.statement) if isinstance(n, (ast.For, ast.While))), None
    )
    if loop is None:
        raise Unsure("the optimizer is not stepped in a loop")
    first = loop.body[0]
    model = model_name(script, facts, first)
    evals = [
        n for n in ast.walk(script.tree)
        if isinstance(n, ast.Attribute) and n.attr == "eval" and script.source(n.value) == model
    ]  # fmt: skip
    outside = [n for n in evals if isinstance(script.scope(n), ast.FunctionDef)]
    note = (
        ""
        if len(evals) > 1 or outside
        else "the program never goes back to eval mode, so its evaluations are in train mode too"
    )
    return Placed(pieces=(script.before(first, f"{model}.train()"),), note=note)


EDIT = CodeEdit(remedy="train_mode", edit=edit)
