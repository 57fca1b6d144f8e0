"""The rate starts at its peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


RISE = 0.5
"""First rate over the peak under which a program warms up."""


def refusal(value: FixValue, facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    first, peak = facts.optimizers[0].first_lr, max(facts.optimizers[0].peak_lr, default=0.0)
    return "" if first < RISE * peak else "its rate does not rise at the start"


def apply(session: Session, value: FixValue) -> None:
    assert session.facts is not None
    peaks = session.facts.optimizers[0].peak_lr
    own: list[tuple[dict[str, Any], Any]] = []
    raised, reached = 0, False

    def put(optimizer: torch.optim.Optimizer) -> None:
        nonlocal raised, reached
        if optimizer is not session.primary or reached:
            return
        reached = float(optimizer.param_groups[0]["lr"]) >= 0.999 * peaks[0]
        for group, peak in zip(optimizer.param_groups, peaks, strict=False):
            if float(group["lr"]) < peak:
                own.append((group, group["lr"]))
                group["lr"] = peak
                raised += 1
        confirm(session, "no_warmup", raised=raised)

    def back(optimizer: torch.optim.Optimizer) -> None:
        while own:
            group, rate = own.pop()
            group["lr"] = rate

    session.at_step(put)
    session.after_step(back)


FAULT = Fault(
    name="no_warmup",
    summary="take the steps of the program's warm-up at the peak rate",
    values="none",
    default=True,
    source="Xiong et al. 2020 (post-norm transformers need warm-up)",
    causes=always(Cause.MISSING_WARMUP, Cause.LEARNING_RATE_TOO_HIGH),
    refusal=refusal,
    apply=apply,
    effect=counted("no_warmup", "raised", "rate was raised"),
    validate=flag("no_warmup"),
)
