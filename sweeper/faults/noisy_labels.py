"""A share of the training samples carries a class drawn at random, the same whenever they come
back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, classes_only, confirm, counted, number, real
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import LossCall, Session


HOPELESS = 0.8
"""Share of random labels from which next to no signal is left."""


def causes(value: FixValue) -> tuple[Cause, ...]:
    hopeless = (Cause.LABELS_WITHOUT_SIGNAL,) if real(value) >= HOPELESS else ()
    return (Cause.LABEL_NOISE, *hopeless)


def refusal(value: FixValue, facts: Facts) -> str:
    return classes_only(facts)


def apply(session: Session, value: FixValue) -> None:
    from sweeper.faults import _rows

    share = real(value)
    wrong: set[float] = set()

    def disturb(keys: list[float], targets: torch.Tensor, call: LossCall) -> torch.Tensor:
        out = targets.clone()
        binary = call.function.startswith("binary")
        classes = 2 if binary else int(call.input.shape[1 if call.input.dim() > 1 else 0])
        for row, key in enumerate(keys):
            if _rows.chosen(key, share):
                out[row] = int(_rows.fraction(key, salt=1) * classes)
                wrong.add(key)
        confirm(session, "noisy_labels", samples=len(wrong))
        return out

    _rows.on_targets(session, disturb)


FAULT = Fault(
    name="noisy_labels",
    summary="give a share of the training samples a class drawn at random",
    values="the share of random labels, 0.05 to 1 (default 0.6)",
    default=0.6,
    source="Northcutt et al. 2021 (label errors in ten test sets)",
    causes=causes,
    refusal=refusal,
    apply=apply,
    effect=counted("noisy_labels", "samples", "label was disturbed"),
    validate=number("noisy_labels", 0.05, 1.0),
)
