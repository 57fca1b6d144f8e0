"""The rate of every dropout module."""

from __future__ import annotations

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import argument, literal, number, with_argument
from sweeper.report.code._places import check_whole
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts, Fix

MODULES = tuple(
    f"torch.nn.{name}"
    for name in (
        "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"
    )
)  # fmt: skip
OWN_RATE = (
    "torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN", "torch.nn.MultiheadAttention",
    "torch.nn.TransformerEncoderLayer", "torch.nn.TransformerDecoderLayer", "torch.nn.Transformer",
)  # fmt: skip
"""Modules with a ``dropout`` argument, which the remedy sets as well."""


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    rate = fix.changes["dropout"]
    assert isinstance(rate, (int, float))
    inside = [c for c in script.calls(*OWN_RATE) if "Transformer" in script.dotted(c.func)
              or argument(c, "dropout", None) is not None]  # fmt: skip
    if inside:
        raise Unsure(f"line {inside[0].lineno} builds a module with dropout inside")
    calls = script.calls(*MODULES)
    if not calls:
        raise Unsure("no place in the file builds a dropout module")
    check_whole(script, len(facts.dropout), len(calls), "dropout modules")
    known = {number(argument(c, "p", 0)) if argument(c, "p", 0) else 0.5 for c in calls}
    if None not in known and not set(facts.dropout) <= known:
        raise Unsure("the program has rates of dropout that are not in the file")
    pieces = tuple(with_argument(script, c, "p", 0, literal(float(rate))) for c in calls)
    return Placed(pieces=pieces)


EDIT = CodeEdit(remedy="dropout", edit=edit)
