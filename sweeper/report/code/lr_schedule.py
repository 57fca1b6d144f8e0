"""A schedule beside the optimizer, stepped behind its step."""

from __future__ import annotations

import ast

from sweeper.remedies.lr_schedule import MILESTONES
from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._places import optimizer_call, step_of, target_of
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import Facts, Fix, FixValue

NAME = "lr_schedule"


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    kind, warmup = _spelled(fix.changes["lr_schedule"])
    if facts.schedulers or facts.lr_written_by_program:
        raise Unsure("the program's own schedule has to go first")
    if not facts.finished or facts.steps < 1:
        raise Unsure("the length of the program in steps is not known")
    if NAME in script.assigned | set(script.aliases):
        raise Unsure(f"the name {NAME} is taken")
    if "batch_size" in fix.changes:
        raise Unsure("another batch size makes another number of steps")
    call = optimizer_call(script, facts)
    built = script.statement(call)
    optimizer = script.source(target_of(script, call))
    step = step_of(script, facts)
    own = f"{optimizer.rpartition('.')[0]}.{NAME}" if "." in optimizer else NAME
    apart = step.optimizer != optimizer or script.scope(built) is not script.scope(step.statement)
    if apart and "." not in optimizer:
        raise Unsure("the optimizer is built and stepped in different functions")
    share = _share(kind, warmup, facts.steps)
    path, imports = script.spelled("torch.optim.lr_scheduler.LambdaLR")
    lines = [f"{own} = {path}(", f"    {optimizer},", f"    lambda step: {share},", ")"]
    pieces = [
        script.block_after(built, lines),
        script.after(step.statement, f"{own}.step()"),
        *imports,
    ]
    if "math." in share and script.aliases.get("math") != "math":
        pieces.append(_import_math(script))
    return Placed(pieces=tuple(pieces))


def _spelled(value: FixValue) -> tuple[str, float]:
    if isinstance(value, dict):
        return str(value.get("kind", "constant")), float(value.get("warmup", 0.0))
    return str(value), 0.0


def _share(kind: str, warmup: float, total: int) -> str:
    """The share of the peak at a step, as `sweeper.remedies.lr_schedule.shape_of` has it."""
    rising = round(warmup * total)
    done = f"(step - {rising}) / {max(1, total - rising)}" if rising else f"step / {total}"
    share = {
        "constant": "1.0",
        "linear": f"1.0 - min(1.0, {done})",
        "cosine": f"0.5 * (1.0 + math.cos(math.pi * min(1.0, {done})))",
        "step": "0.1 ** (" + " + ".join(f"({done} >= {m})" for m in MILESTONES) + ")",
    }[kind]
    return f"(step + 1) / {rising} if step < {rising} else {share}" if rising else share


def _import_math(script: Script) -> Piece:
    """In front of the first import that is not of the future."""
    for node in script.tree.body:
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not future:
            return script.before(node, "import math")
    raise Unsure("the file has no imports")


EDIT = CodeEdit(remedy="lr_schedule", edit=edit)
