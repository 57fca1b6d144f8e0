"""A few training samples are absurdly large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, float_inputs_only, number, real
from sweeper.types import Cause, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


SHARE = 0.005
"""Share of the samples."""


def apply(session: Session, value: FixValue) -> None:
    from sweeper.faults import _rows

    factor = real(value)
    few = _rows.Few(SHARE)
    blown: set[float] = set()

    def blow_up(rows: torch.Tensor, training: bool) -> torch.Tensor | None:
        if not training or not rows.is_floating_point():
            return None
        keys = _rows.keys_of(rows)
        hit = few(keys)
        if not hit:
            return None
        blown.update(keys[i] for i in hit)
        confirm(session, "input_outliers", samples=len(blown))
        out = rows.clone()
        out[hit] *= factor
        return out

    _rows.on_data(session, blow_up)


FAULT = Fault(
    name="input_outliers",
    summary=f"multiply {SHARE:.1%} of the training samples",
    values="the factor (default 10000)",
    default=10_000.0,
    source="units mixed up and missing-value codes in single rows",
    causes=always(Cause.INPUT_OUTLIERS),
    refusal=float_inputs_only,
    apply=apply,
    effect=counted("input_outliers", "samples", "sample was blown up"),
    validate=number("input_outliers", 10, 1e12),
)
