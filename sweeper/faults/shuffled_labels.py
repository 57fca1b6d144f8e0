"""Each training sample gets the target of another one, the same whenever it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import LossCall, Session


POOL = 4096
"""Targets to draw from; the first ones seen."""


def refusal(value: FixValue, facts: Facts) -> str:
    return "" if facts.loss_function else "the loss is not a function of torch.nn.functional"


def apply(session: Session, value: FixValue) -> None:
    import random

    from sweeper.faults import _rows

    draw = random.Random(0)
    pool: list[torch.Tensor] = []
    given: dict[float, torch.Tensor] = {}

    def shuffle(keys: list[float], targets: torch.Tensor, call: LossCall) -> torch.Tensor:
        import torch

        if len(pool) < POOL:
            pool.extend(targets.clone().unbind())
        for key in keys:
            if key not in given:
                fitting = pool[draw.randrange(len(pool))]
                given[key] = fitting if fitting.shape == targets.shape[1:] else targets[0].clone()
        confirm(session, "shuffled_labels", samples=len(given))
        return torch.stack([given[key] for key in keys])

    _rows.on_targets(session, shuffle)


FAULT = Fault(
    name="shuffled_labels",
    summary="give each training sample the target of another one",
    values="none",
    default=True,
    source="Zhang et al. 2017 (random labels); files joined or sorted out of step",
    causes=always(Cause.LABELS_WITHOUT_SIGNAL),
    refusal=refusal,
    apply=apply,
    effect=counted("shuffled_labels", "samples", "target was exchanged"),
    validate=flag("shuffled_labels"),
)
