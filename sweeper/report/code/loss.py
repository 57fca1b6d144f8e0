"""Another loss in the place of the present one."""

from __future__ import annotations

import ast

from sweeper.remedies.loss import KEPT, REGRESSION
from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._losses import EVALUATED, MODULES, is_function, loss_call
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import Facts, Fix


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    kind = str(fix.changes["loss"])
    call = loss_call(script, facts)
    if kind == "cross_entropy" and facts.output_activation:
        raise Unsure(f"the {facts.output_activation} before the loss has to go as well")
    if kind == "bce_with_logits":
        raise Unsure("its targets need the type and shape of the output as well")
    new = REGRESSION.get(kind, kind)
    function = is_function(script, call)
    path = f"torch.nn.functional.{new}" if function else f"torch.nn.{MODULES[new]}"
    name, pieces = script.spelled(path, call.func)
    words = [script.source(a) for a in call.args] if function else _no_positional(call)
    wanted = kept(kind) | ({"input", "target"} if function else set())
    words += [f"{k.arg}={script.source(k.value)}" for k in call.keywords if k.arg in wanted]
    text = f"{name}({', '.join(words)})"
    return Placed(pieces=(Piece(*script.span(call), text), *pieces), note=EVALUATED)


def kept(kind: str) -> set[str]:
    """Options that both losses have."""
    return KEPT if kind == "cross_entropy" else KEPT - {"weight", "ignore_index"}


def _no_positional(call: ast.Call) -> list[str]:
    if call.args:
        raise Unsure(f"line {call.lineno} gives the loss positional options")
    return []


EDIT = CodeEdit(remedy="loss", edit=edit)
