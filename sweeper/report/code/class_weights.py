"""The weight argument of cross-entropy."""

from __future__ import annotations

from sweeper.remedies.class_weights import INDEXED, weights
from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import added, argument
from sweeper.report.code._losses import EVALUATED, is_function, loss_call
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts, Fix


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    if facts.loss_function not in INDEXED:
        raise Unsure("weights of a binary loss depend on how its targets are shaped")
    call = loss_call(script, facts)
    if argument(call, "weight", 2 if is_function(script, call) else 0) is not None:
        raise Unsure("the program weighs its classes already")
    width = max(facts.head_width, len(facts.class_prior))
    shown = ", ".join(repr(float(w)) for w in weights(facts.class_prior, width))
    tensor, pieces = script.spelled("torch.tensor")
    note = f"{EVALUATED}; on a GPU the weights have to be moved there"
    piece = added(script, call, f"weight={tensor}([{shown}])")
    return Placed(pieces=(piece, *pieces), note=note)


EDIT = CodeEdit(remedy="class_weights", edit=edit)
