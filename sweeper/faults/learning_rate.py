"""The program's rate times a factor, at every step; its schedule keeps its shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.faults._base import Fault, confirm, no_optimizer, number, real, seen
from sweeper.types import Cause, FixValue, RunRecord

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


TOLERANCE = 0.03


def apply(session: Session, value: FixValue) -> None:
    factor = real(value)
    own: list[tuple[dict[str, Any], Any]] = []
    largest = 0.0

    def put(optimizer: torch.optim.Optimizer) -> None:
        nonlocal largest
        for group in optimizer.param_groups:
            own.append((group, group["lr"]))
            group["lr"] = group["lr"] * factor
        if optimizer is session.primary:
            rate = float(optimizer.param_groups[0]["lr"])
            if rate > largest:
                largest = rate
                confirm(session, "learning_rate", largest=largest)

    def back(optimizer: torch.optim.Optimizer) -> None:
        while own:
            group, rate = own.pop()
            group["lr"] = rate

    session.at_step(put)
    session.after_step(back)


def effect(value: FixValue, record: RunRecord) -> str:
    rates = record.series("lr")
    peak = float(rates[np.isfinite(rates)].max(initial=0.0))
    largest = float(seen(record, "learning_rate").get("largest", math.nan))
    if abs(peak - largest) <= TOLERANCE * largest:
        return ""
    return f"the largest rate at a step was {peak:.3g}, not {largest:.3g}"


FAULT = Fault(
    name="learning_rate",
    summary="multiply every learning rate",
    values="the factor (default 1000)",
    default=1000.0,
    source="the most common mistake of all: rates meant for another optimizer or batch size",
    causes=lambda value: (
        (Cause.LEARNING_RATE_TOO_HIGH,) if real(value) > 1 else (Cause.LEARNING_RATE_TOO_LOW,)
    ),
    refusal=no_optimizer,
    apply=apply,
    effect=effect,
    validate=number("learning_rate", 1e-12, 1e12),
)
