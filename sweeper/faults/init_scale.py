"""The first weights times a factor; 0 starts all of them at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, number, real, seen
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    return "the weights are pretrained, not drawn" if facts.pretrained else ""


def apply(session: Session, value: FixValue) -> None:
    factor = real(value)

    def scale(roots: list[nn.Module]) -> None:
        from sweeper.remedies import _weights

        before = _weights.total_norm(roots)
        changed = _weights.initialise(roots, session.facts, "keep", factor)
        if not changed:
            session.refuse("init_scale", "the model has no weight matrices that can be scaled")
        confirm(
            session, "init_scale", tensors=len(changed), before=before,
            after=_weights.total_norm(roots),
        )  # fmt: skip

    session.on_model(scale)


def effect(value: FixValue, record: RunRecord) -> str:
    found = seen(record, "init_scale")
    if found.get("tensors") and found["after"] != found["before"]:
        return ""
    return "the size of the first weights did not change"


FAULT = Fault(
    name="init_scale",
    summary="multiply the first weights (matrices, not biases)",
    values="the factor, 0 to 1e6 (default 20)",
    default=20.0,
    source="unit-normal and zero initialisation are among the collected bugs of TheDeepChecker",
    causes=always(Cause.BAD_INITIALISATION),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=number("init_scale", 0.0, 1e6),
)
