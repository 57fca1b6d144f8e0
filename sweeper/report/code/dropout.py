"""The rate of every dropout module."""

from __future__ import annotations

import ast

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
FUNCTIONS = (
    "torch.dropout",
    *(f"torch.nn.functional.{name}" for name in (
        "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"
    )),
)  # fmt: skip
RECURRENT = ("torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN")
INSIDE = (
    "torch.nn.MultiheadAttention", "torch.nn.TransformerEncoderLayer", "torch.nn.Transformer",
    "torch.nn.TransformerDecoderLayer", "torch.nn.functional.scaled_dot_product_attention",
)  # fmt: skip
"""They drop at several places, by a rate that they may have without being given one."""


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    rate = fix.changes["dropout"]
    assert isinstance(rate, (int, float))
    inside = script.references(*INSIDE)
    if inside:
        raise Unsure(f"line {inside[0].lineno} names a part of torch with dropout inside")
    n_called = facts.n_dropout_calls
    modules: list[tuple[ast.Call, str, int | None]] = [(c, "p", 0) for c in script.calls(*MODULES)]
    for call in script.calls(*RECURRENT):
        if number(argument(call, "dropout", None) or ast.Constant(0)) != 0.0:
            modules.append((call, "dropout", None))
    called = [(c, "p", 1) for c in script.calls(*FUNCTIONS)] if n_called else []
    places = [*modules, *called]
    if not modules and len(facts.dropout) > n_called:
        raise Unsure("no place in the file builds a dropout module")
    if not called and n_called:
        raise Unsure("no place in the file calls a dropout")
    check_whole(script, len(facts.dropout), len(places), "dropout")
    known = {_rate(*place) for place in places}
    if None not in known and not set(facts.dropout) <= known:
        raise Unsure("the program has rates of dropout that are not in the file")
    text = literal(float(rate))
    return Placed(pieces=tuple(with_argument(script, *place, text) for place in places))


def _rate(call: ast.Call, name: str, position: int | None) -> float | None:
    """As written; 0.5 where torch's own default holds, None where it is no number."""
    given = argument(call, name, position)
    return 0.5 if given is None else number(given)


EDIT = CodeEdit(remedy="dropout", edit=edit)
