"""The batch size of the loader that trains."""

from __future__ import annotations

import ast

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import argument, check_plain, literal, with_argument
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts, Fix, LoaderFact

PATHS = ("torch.utils.data.DataLoader", "torch.utils.data.dataloader.DataLoader")


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    size = fix.changes["batch_size"]
    assert isinstance(size, (int, float))
    trained = [x for x in facts.loaders if x.trained and not x.reason and x.batch_size]
    if len(trained) != 1:
        raise Unsure(
            f"{len(trained)} loaders train"
            if trained
            else "no loader trains, the program makes its batches itself"
        )
    call = _call(script, trained[0], facts)
    check_plain(call)
    return Placed(pieces=(with_argument(script, call, "batch_size", 1, literal(int(size))),))


def _call(script: Script, fact: LoaderFact, facts: Facts) -> ast.Call:
    """By its being the only one, the only shuffled one, or by the order of construction."""
    calls = script.calls(*PATHS)
    if len(calls) == 1:
        return calls[0]
    if fact.shuffled:
        shuffled = [c for c in calls if _is_true(argument(c, "shuffle", 2))]
        if len(shuffled) == 1:
            return shuffled[0]
    in_a_row = all(
        not isinstance(n, (ast.For, ast.While, ast.FunctionDef, ast.comprehension))
        for c in calls
        for n in script.above(c)
    )
    if in_a_row and len(calls) == len(facts.loaders):
        return calls[fact.index]
    raise Unsure(f"which of {len(calls)} loaders trains is not certain")


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


EDIT = CodeEdit(remedy="batch_size", edit=edit)
