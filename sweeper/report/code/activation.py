"""Another activation wherever the old one is built or called."""

from __future__ import annotations

import ast

from sweeper.remedies.activation import MODULES
from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import check_plain, with_argument
from sweeper.report.code._names import KNOWN
from sweeper.report.code._places import check_whole
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import ActivationSite, Facts, Fix

IN_TORCH = ("relu", "tanh", "sigmoid", "selu")
"""Found as torch.NAME too."""
RECURRENT = ("torch.nn.RNN", "torch.nn.RNNCell")


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    kind = str(fix.changes["activation"])
    sites = [s for s in facts.activations if s.swappable and s.function != kind]
    if facts.n_frozen:
        raise Unsure("the program freezes parts of the model, whose activations stay")
    unknown = {s.function for s in sites} - set(KNOWN)
    if unknown:
        raise Unsure(f"{sorted(unknown)[0]} is not replaced by its name alone")
    modules = {s.function for s in sites if s.kind == "module"}
    calls = [s for s in sites if s.kind == "call"]
    kept = {s.function for s in facts.activations if not s.swappable and s.kind == "module"}
    if modules & kept:
        raise Unsure(f"a {sorted(modules & kept)[0]} of another use has to stay")
    pieces: list[Piece] = []
    for function in sorted(modules):
        count = sum(s.function == function and s.kind == "module" for s in sites)
        pieces += _modules(script, function, kind, count)
    for site in {s.site.rpartition("|")[2]: s for s in calls}.values():
        pieces += _calls(script, site, kind)
    recurrent = [c for c in script.calls(*RECURRENT) if kind in ("relu", "tanh")]
    pieces += [with_argument(script, c, "nonlinearity", 3, f'"{kind}"') for c in recurrent]
    if not pieces:
        raise Unsure("the file names no activation that could be replaced")
    return Placed(pieces=tuple(pieces))


def _modules(script: Script, function: str, kind: str, count: int) -> list[Piece]:
    """Every mention of the module, built or handed on as a class; the run saw ``count`` of them."""
    found = script.references(f"torch.nn.{KNOWN[function]}")
    if not found:
        raise Unsure(f"no place in the file names torch.nn.{KNOWN[function]}")
    check_whole(script, count, len(found), f"{KNOWN[function]} modules")
    pieces: list[Piece] = []
    for node in found:
        holder = script.parents[node]
        if isinstance(holder, ast.Call) and node in holder.args and _is_check(holder):
            raise Unsure(f"line {node.lineno} asks for the class of the present activation")
        name, imports = script.spelled(f"torch.nn.{MODULES[kind]}", node)
        pieces += imports
        called = isinstance(holder, ast.Call) and holder.func is node
        text = f"{name}()" if called else name
        pieces.append(
            script.replaced(holder if isinstance(holder, ast.Call) and called else node, text)
        )
    return pieces


def _is_check(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in ("isinstance", "issubclass")


def _calls(script: Script, site: ActivationSite, kind: str) -> list[Piece]:
    """Calls as functions, at the line where the run saw them."""
    file, _, line = site.site.rpartition("|")[2].rpartition(":")
    if script.file and file != script.file:
        raise Unsure(f"the activation is applied in {file}")
    names = (site.function, f"{site.function}_")
    found = [
        node for node in ast.walk(script.tree)
        if isinstance(node, ast.Call) and _called(script, node) in names
        and node.lineno <= int(line) <= (node.end_lineno or node.lineno)
    ]  # fmt: skip
    if not found:
        raise Unsure(f"line {line} applies no {site.function}")
    pieces: list[Piece] = []
    for call in found:
        check_plain(call)
        path = f"torch.{kind}" if kind in IN_TORCH else f"torch.nn.functional.{kind}"
        like = call.func if script.dotted(call.func) else None
        name, imports = script.spelled(path, like)
        start, end = script.span(call)
        inner = call.args[0] if script.dotted(call.func) else _receiver(call)
        inner_start, inner_end = script.span(inner)
        pieces += [Piece(start, inner_start, f"{name}("), Piece(inner_end, end, ")"), *imports]
    return pieces


def _called(script: Script, call: ast.Call) -> str:
    """The function's own name: of torch, of torch.nn.functional, or a method of a tensor."""
    path = script.dotted(call.func)
    module, _, name = path.rpartition(".")
    if module in ("torch", "torch.nn.functional") and call.args:
        return name
    if not path and isinstance(call.func, ast.Attribute) and not call.args and not call.keywords:
        return call.func.attr
    return ""


def _receiver(call: ast.Call) -> ast.expr:
    assert isinstance(call.func, ast.Attribute)
    return call.func.value


EDIT = CodeEdit(remedy="activation", edit=edit)
