"""A clip of the gradient's norm far under the gradient, at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, no_optimizer, number, real
from sweeper.types import Cause, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


def apply(session: Session, value: FixValue) -> None:
    limit = real(value)
    clipped = 0

    def clip(optimizer: torch.optim.Optimizer) -> None:
        import torch

        nonlocal clipped
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if optimizer is session.primary:
            total = torch.nn.utils.clip_grad_norm_(parameters, limit)
            clipped += int(float(total) > limit)
            confirm(session, "clip", clipped=clipped)

    def ours(kind: str, own: float, norm_type: float) -> float | None:
        return limit if kind == "norm" and own == limit else None

    session.on_clip_call(ours)
    session.at_step(clip)


FAULT = Fault(
    name="clip",
    summary="clip the gradient's norm at a tiny limit, in place of the program's own clip",
    values="the limit (default 1e-5)",
    default=1e-5,
    source="a limit copied from another loss scale; definition 5.12 of clipping in force",
    causes=always(Cause.CLIP_TOO_TIGHT),
    refusal=no_optimizer,
    apply=apply,
    effect=counted("clip", "clipped", "gradient was clipped"),
    validate=number("clip", 1e-12, 1e3),
)
