"""Every sample looks the same to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    return "" if facts.input_dtype else "no tensor of inputs was seen"


def apply(session: Session, value: FixValue) -> None:
    from sweeper.faults import _rows

    first: dict[tuple[int, ...], torch.Tensor] = {}
    calls = 0

    def repeat(rows: torch.Tensor, training: bool) -> torch.Tensor | None:
        import torch

        nonlocal calls
        calls += 1
        confirm(session, "constant_inputs", calls=calls)
        if not rows.is_floating_point():  # ids: lengths and paddings differ, one id does not
            known = first.setdefault((), rows.reshape(-1)[0].clone())
            return torch.full_like(rows, int(known))
        known = first.setdefault(tuple(rows.shape[1:]), rows[0].clone())
        return known.expand_as(rows).clone()

    _rows.on_data(session, repeat)


FAULT = Fault(
    name="constant_inputs",
    summary="show the model one and the same input for every sample",
    values="none",
    default=True,
    source="a reader that returns its first record, a tokenizer that knows no word",
    causes=always(Cause.CONSTANT_INPUTS),
    refusal=refusal,
    apply=apply,
    effect=counted("constant_inputs", "calls", "input was replaced"),
    validate=flag("constant_inputs"),
)
