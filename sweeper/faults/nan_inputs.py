"""A few training samples hold a NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, float_inputs_only, number, real
from sweeper.types import Cause, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


def apply(session: Session, value: FixValue) -> None:
    from sweeper.faults import _rows

    few = _rows.Few(real(value))
    spoilt: set[float] = set()

    def spoil(rows: torch.Tensor, training: bool) -> torch.Tensor | None:
        if not training or not rows.is_floating_point():
            return None
        keys = _rows.keys_of(rows)
        hit = few(keys)
        if not hit:
            return None
        spoilt.update(keys[i] for i in hit)
        confirm(session, "nan_inputs", samples=len(spoilt))
        out = rows.clone()
        flat = out.reshape(len(rows), -1)
        flat[hit, 0] = float("nan")
        return flat.reshape(rows.shape)

    _rows.on_data(session, spoil)


FAULT = Fault(
    name="nan_inputs",
    summary="put a NaN into a share of the training samples",
    values="the share of samples, 0.0001 to 1 (default 0.01)",
    default=0.01,
    source="missing values read from a table",
    causes=always(Cause.NON_FINITE_DATA),
    refusal=float_inputs_only,
    apply=apply,
    effect=counted("nan_inputs", "samples", "sample was given a NaN"),
    validate=number("nan_inputs", 1e-4, 1.0),
)
