"""A clip before the optimizer's step, or the arguments of the one that is there."""

from __future__ import annotations

import ast
import math

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import check_plain, literal
from sweeper.report.code._places import parameters_there, step_of
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import Facts, Fix, FixValue

CLIPS = tuple(
    f"torch.nn.utils.{inner}{name}"
    for inner in ("", "clip_grad.")
    for name in ("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm")
)


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    amount = _arguments(fix.changes["clip_norm"])
    own = script.calls(*CLIPS)
    note = (
        "the norm sums its layers in another order (rounding)"
        if "normalisation" in fix.changes
        else ""
    )
    if len(own) > 1:
        raise Unsure(f"{len(own)} places clip gradients already")
    if facts.clips and not own:
        raise Unsure("the program clips its gradients elsewhere already")
    if own and not facts.clips:
        raise Unsure(f"the clip in line {own[0].lineno} was not called in the run")
    if own:
        return Placed(pieces=_changed(script, own[0], amount), note=note)
    step = step_of(script, facts)
    name, pieces = _spelled(script)
    line = f"{name}({parameters_there(script, facts, step)}, {amount})"
    lines = [line]
    if step.scaler:
        unscaled = any(
            isinstance(n, ast.Attribute) and n.attr == "unscale_" for n in ast.walk(script.tree)
        )
        lines = [line] if unscaled else [f"{step.scaler}.unscale_({step.optimizer})", line]
    return Placed(pieces=(script.before(step.statement, *lines), *pieces), note=note)


def _arguments(value: FixValue) -> str:
    if not isinstance(value, dict):
        assert isinstance(value, (int, float))
        return literal(float(value))
    norm = float(value.get("norm_type", 2.0))
    spelled = 'float("inf")' if math.isinf(norm) else literal(norm)
    kind = "" if norm == 2.0 else f", norm_type={spelled}"
    return literal(float(value["max_norm"])) + kind


def _spelled(script: Script) -> tuple[str, list[Piece]]:
    return script.spelled("torch.nn.utils.clip_grad_norm_")


def _changed(script: Script, call: ast.Call, amount: str) -> tuple[Piece, ...]:
    """The program's own clip, with the fix's bound."""
    check_plain(call)
    if not call.args:
        raise Unsure(f"what line {call.lineno} clips is not certain")
    name, pieces = script.spelled("torch.nn.utils.clip_grad_norm_", call.func)
    text = f"{name}({script.source(call.args[0])}, {amount})"
    return (Piece(*script.span(call), text), *pieces)


EDIT = CodeEdit(remedy="clip_norm", edit=edit)
