"""Reading and changing the arguments of a call."""

from __future__ import annotations

import ast

from sweeper.report.code._script import Piece, Script, Unsure


def argument(call: ast.Call, name: str, position: int | None) -> ast.expr | None:
    """The argument of a name, by keyword or position (from 0); None when it is left out.

    Raises:
        Unsure: the call unpacks sequences or mappings.
    """
    check_plain(call)
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if position is not None and position < len(call.args):
        return call.args[position]
    return None


def check_plain(call: ast.Call) -> None:
    """Raise Unsure for a call that unpacks (``*args``, ``**kwargs``)."""
    if any(isinstance(a, ast.Starred) for a in call.args) or any(
        k.arg is None for k in call.keywords
    ):
        raise Unsure(f"the call in line {call.lineno} unpacks its arguments")


def with_argument(
    script: Script, call: ast.Call, name: str, position: int | None, text: str
) -> Piece:
    """The call with this argument: at the literal that feeds it where that is all it does."""
    present = argument(call, name, position)
    if present is None:
        return added(script, call, f"{name}={text}")
    return script.replaced(feeding_literal(script, present) or present, text)


def added(script: Script, call: ast.Call, text: str) -> Piece:
    """One more keyword argument at the end of a call."""
    own = [*call.args, *(keyword.value for keyword in call.keywords)]
    if own:
        end = max(script.span(node)[1] for node in own)
        return Piece(end, end, f", {text}")
    end = script.span(call)[1] - 1
    return Piece(end, end, text)


def feeding_literal(script: Script, node: ast.expr) -> ast.expr | None:
    """The number that a name was assigned, where it is assigned once and used only here."""
    if not isinstance(node, ast.Name):
        return None
    uses = [n for n in ast.walk(script.tree) if isinstance(n, ast.Name) and n.id == node.id]
    if len(uses) != 2 or node.id in script.parameters:
        return None
    other = next(n for n in uses if n is not node)
    holder = script.parents[other]
    simple = isinstance(holder, ast.Assign) and holder.targets == [other]
    annotated = isinstance(holder, ast.AnnAssign) and holder.target is other
    value = holder.value if isinstance(holder, (ast.Assign, ast.AnnAssign)) else None
    if not (simple or annotated):
        return None
    if script.scope(other) not in (script.scope(node), script.tree):
        return None
    return value if value is not None and number(value) is not None else None


def constant(script: Script, node: ast.expr | None) -> float | None:
    """The value of a literal number, also through a name that is assigned once; or None."""
    if isinstance(node, ast.Name):
        places = [
            n for n in ast.walk(script.tree)
            if isinstance(n, ast.Name) and n.id == node.id and isinstance(n.ctx, ast.Store)
        ]  # fmt: skip
        holder = script.parents[places[0]] if len(places) == 1 else None
        value = holder.value if isinstance(holder, (ast.Assign, ast.AnnAssign)) else None
        return number(value) if node.id not in script.parameters else None
    return number(node)


def number(node: ast.expr | None) -> float | None:
    """The value of a literal number, or None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return None if isinstance(node.value, bool) else float(node.value)
    return None


def literal(value: float) -> str:
    """A number as Python reads it back exactly."""
    return repr(int(value)) if isinstance(value, int) else repr(float(value))
