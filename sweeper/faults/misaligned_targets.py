"""Targets belong to the sample a few rows earlier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, number, real
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import LossCall, Session


def refusal(value: FixValue, facts: Facts) -> str:
    return "" if facts.loss_function else "the loss is not a function of torch.nn.functional"


def apply(session: Session, value: FixValue) -> None:
    from sweeper.faults import _rows

    shift = int(real(value))
    late: list[torch.Tensor] = []
    moved = 0

    def move(keys: list[float], targets: torch.Tensor, call: LossCall) -> torch.Tensor:
        import torch

        nonlocal moved
        before = [t for t in late if t.shape == targets.shape[1:]]
        late[:] = [*late, *targets.clone().unbind()][-shift:]
        moved += len(keys)
        confirm(session, "misaligned_targets", samples=moved)
        missing = shift - len(before)
        start = [*before, *targets[:1].expand(missing, -1).unbind()] if missing > 0 else before
        return torch.cat([torch.stack(start), targets])[: len(keys)]

    _rows.on_targets(session, move)


FAULT = Fault(
    name="misaligned_targets",
    summary="hold each training input against the target of an earlier row",
    values="how many rows earlier, 1 to 64 (default 1)",
    default=1.0,
    source="off-by-one joins of inputs and targets",
    causes=always(Cause.CODE_FAULT, Cause.LABELS_WITHOUT_SIGNAL),
    refusal=refusal,
    apply=apply,
    effect=counted("misaligned_targets", "samples", "target was moved"),
    validate=number("misaligned_targets", 1, 64),
)
