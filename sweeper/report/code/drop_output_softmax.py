"""Take the softmax or sigmoid at the end of the model away."""

from __future__ import annotations

import ast

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import Facts, Fix

MODULES = {"softmax": "torch.nn.Softmax", "sigmoid": "torch.nn.Sigmoid"}
FUNCTIONS = {
    "softmax": ("torch.softmax", "torch.nn.functional.softmax"),
    "sigmoid": ("torch.sigmoid", "torch.nn.functional.sigmoid"),
}
NOTE = (
    "what the program itself does with the model's output (thresholds, printed probabilities) gets "
    "logits then"
)


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    kind = facts.output_activation
    if kind not in MODULES:
        raise Unsure("the model ends in no softmax or sigmoid")
    places = [p for p in (_last_element(script, kind), *_returned(script, kind)) if p is not None]
    if len(places) != 1:
        count = f"{len(places)} places end" if places else "no place in the file ends"
        raise Unsure(f"{count} a model in a {kind}")
    return Placed(pieces=(places[0],), note=NOTE)


def _last_element(script: Script, kind: str) -> Piece | None:
    """Of the one nn.Sequential that ends so."""
    found = []
    for call in script.calls("torch.nn.Sequential"):
        last = call.args[-1] if len(call.args) > 1 else None
        if isinstance(last, ast.Call) and script.dotted(last.func) == MODULES[kind]:
            start = script.span(call.args[-2])[1]
            found.append(Piece(start, script.span(last)[1], ""))
    if len(found) > 1:
        raise Unsure(f"{len(found)} sequences end in a {kind}")
    return found[0] if found else None


def _returned(script: Script, kind: str) -> list[Piece]:
    """``return softmax(x)`` of a forward, in any of its spellings, as ``return x``."""
    pieces = []
    for function in ast.walk(script.tree):
        if not (isinstance(function, ast.FunctionDef) and function.name == "forward"):
            continue
        for node in ast.walk(function):
            value = node.value if isinstance(node, ast.Return) else None
            inner = _inside(script, value, kind) if isinstance(value, ast.Call) else None
            if inner is not None and value is not None:
                pieces.append(script.replaced(value, script.source(inner)))
    return pieces


def _inside(script: Script, call: ast.Call, kind: str) -> ast.expr | None:
    """What the softmax is applied to, or None for another call."""
    path = script.dotted(call.func)
    if path in FUNCTIONS[kind] and call.args:
        return call.args[0]
    if isinstance(call.func, ast.Attribute) and call.func.attr == kind and not path:
        owner = call.func.value
        own_module = isinstance(owner, ast.Name) and owner.id == "self"
        if not own_module:
            return owner  # a method of the tensor
    module = call.func
    built = isinstance(module, ast.Call) and script.dotted(module.func) == MODULES[kind]
    if (built or _is_attribute_of(script, module, kind)) and len(call.args) == 1:
        return call.args[0]
    return None


def _is_attribute_of(script: Script, node: ast.expr, kind: str) -> bool:
    """``self.NAME`` that was built as the softmax module and nothing else."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
        return False
    values = [
        n.value for n in ast.walk(script.tree)
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Attribute) and t.attr == node.attr
    ]  # fmt: skip
    return bool(values) and all(
        isinstance(v, ast.Call) and script.dotted(v.func) == MODULES[kind] for v in values
    )


EDIT = CodeEdit(remedy="drop_output_softmax", edit=edit)
