"""All float inputs times a factor: raw features that nobody standardised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, float_inputs_only, number, real
from sweeper.types import Cause, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


def apply(session: Session, value: FixValue) -> None:
    from sweeper.faults import _rows

    factor = real(value)
    calls = 0

    def scale(rows: torch.Tensor, training: bool) -> torch.Tensor | None:
        nonlocal calls
        if not rows.is_floating_point():
            return None
        calls += 1
        confirm(session, "input_scale", calls=calls)
        return rows * factor

    _rows.on_data(session, scale)


FAULT = Fault(
    name="input_scale",
    summary="multiply every float input, in training and evaluation",
    values="the factor (default 1000)",
    default=1000.0,
    source="UMLAUT and SageMaker Debugger warn of unscaled inputs",
    causes=always(Cause.INPUTS_NOT_STANDARDISED),
    refusal=float_inputs_only,
    apply=apply,
    effect=counted("input_scale", "calls", "float input was scaled"),
    validate=number("input_scale", 1e-6, 1e6),
)
