"""The rate in the optimizer's constructor, or the number that is named for it."""

from __future__ import annotations

import math

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import argument, constant, literal, with_argument
from sweeper.report.code._places import only, optimizer_call
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts, Fix

SETS_ITS_PEAK = ("OneCycleLR", "CyclicLR")
"""Schedules with a peak of their own, which the optimizer's rate does not move."""
ABSOLUTE = {"CosineAnnealingLR": "eta_min", "CosineAnnealingWarmRestarts": "eta_min",
            "ReduceLROnPlateau": "min_lr"}  # fmt: skip
"""Schedule -> its argument in units of the rate, which the fix scales with the peak."""

ORDER = "the schedule multiplies in another order (rounding)"


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    value = fix.changes["learning_rate"]
    assert isinstance(value, (int, float))
    call = optimizer_call(script, facts)
    if facts.lr_written_by_program:
        raise Unsure("the program writes the rate itself while it runs")
    if len({r for r in facts.optimizers[0].peak_lr if r > 0}) > 1:
        raise Unsure("the parameter groups have different rates")
    own = next((s for s in facts.schedulers if s in SETS_ITS_PEAK), "")
    if own:
        schedule = only(script.calls(f"torch.optim.lr_scheduler.{own}"), f"a {own}")
        if own != "OneCycleLR" or len(facts.schedulers) > 1:
            raise Unsure(f"the peak is an argument of {own}")
        piece = with_argument(script, schedule, "max_lr", 1, literal(float(value)))
        return Placed(pieces=(piece,), note=ORDER)
    if call.args and any(_names_lr(script.source(a)) for a in call.args[:1]):
        raise Unsure("the parameter groups name rates of their own")
    present = argument(call, "lr", 1)
    known, peak = constant(script, present), facts.optimizers[0].peak_lr[0]
    if facts.schedulers and known is not None and not math.isclose(known, peak, rel_tol=1e-6):
        raise Unsure(f"a schedule makes {peak:g} out of the {known:g} of the constructor")
    if facts.schedulers and known is None:
        raise Unsure("what a schedule makes of the constructor's rate is not certain")
    piece = with_argument(script, call, "lr", 1, literal(float(value)))
    return Placed(pieces=(piece,), note=_note(facts))


def _names_lr(text: str) -> bool:
    return "'lr'" in text or '"lr"' in text or "lr=" in text.replace(" ", "")


def _note(facts: Facts) -> str:
    fixed = [f"{ABSOLUTE[s]} of {s}" for s in facts.schedulers if s in ABSOLUTE]
    if fixed:
        return f"the fix scales the whole schedule; {fixed[0]}, if set, stays as it is here"
    return ORDER if facts.schedulers else ""


EDIT = CodeEdit(remedy="learning_rate", edit=edit)
