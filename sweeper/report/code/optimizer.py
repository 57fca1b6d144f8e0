"""Another class in the place where the optimizer is built, at the program's own rate and decay."""

from __future__ import annotations

import ast

from sweeper.remedies.optimizer import ADAM_FAMILY, CLASSES, MOMENTUM
from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import argument, literal
from sweeper.report.code._places import optimizer_call
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import Facts, Fix

DEFAULT_DECAY = {"AdamW": 0.01}
"""Weight decay of a class that is given none; 0 for the others (torch.optim)."""
KEPT_IN_FAMILY = ("betas", "eps")
"""Of one Adam-like class by another."""


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    kind = str(fix.changes["optimizer"])
    call = optimizer_call(script, facts)
    if len(call.args) > 2:
        raise Unsure("the constructor has positional arguments behind the rate")
    if not call.args and argument(call, "params", None) is None:
        raise Unsure("what the optimizer is given is not certain")
    known = facts.optimizers[0]
    if len(known.peak_lr) > 1:
        raise Unsure("the parameter groups may name settings of the old class")
    new = CLASSES[kind]
    name, pieces = script.spelled(f"torch.optim.{new}", call.func)
    words = [_params(script, call), f"lr={_rate(script, call, known.peak_lr[0], facts)}"]
    words += [f"momentum={MOMENTUM:g}"] if kind == "sgd_momentum" else []
    words += _decay(script, call, known.weight_decay, new)
    words += _kept(script, call, known.name, new)
    text = f"{name}({', '.join(words)})"
    return Placed(pieces=(Piece(*script.span(call), text), *pieces))


def _params(script: Script, call: ast.Call) -> str:
    if call.args:
        return script.source(call.args[0])
    given = argument(call, "params", None)
    assert given is not None
    return script.source(given)


def _rate(script: Script, call: ast.Call, peak: float, facts: Facts) -> str:
    """As the program writes it; where it left the rate to the class, what that was."""
    present = argument(call, "lr", 1)
    if present is not None:
        return script.source(present)
    if facts.schedulers or facts.lr_written_by_program:
        raise Unsure("the rate that the old class takes by itself is not certain")
    return literal(peak)


def _decay(script: Script, call: ast.Call, seen: float, new: str) -> list[str]:
    """Explicit wherever the new class would take another by itself."""
    present = argument(call, "weight_decay", None)
    if present is not None:
        return [f"weight_decay={script.source(present)}"]
    return [] if seen == DEFAULT_DECAY.get(new, 0.0) else [f"weight_decay={literal(seen)}"]


def _kept(script: Script, call: ast.Call, old: str, new: str) -> list[str]:
    names = ["maximize"]
    if old in ADAM_FAMILY and new in ADAM_FAMILY:
        names += KEPT_IN_FAMILY
    found = [(name, argument(call, name, None)) for name in names]
    return [f"{name}={script.source(value)}" for name, value in found if value is not None]


EDIT = CodeEdit(remedy="optimizer", edit=edit)
