"""Rectifiers pushed below zero by their bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, number, real
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


RECTIFIERS = ("relu", "relu6")


def refusal(value: FixValue, facts: Facts) -> str:
    if any(x.followed_by in RECTIFIERS for x in facts.layers):
        return ""
    return "no layer is followed by a rectifier"


def apply(session: Session, value: FixValue) -> None:
    shift = real(value)

    def push(roots: list[nn.Module]) -> None:
        from sweeper.program.models import module_by_path

        by_path = module_by_path(roots)
        layers = session.facts.layers if session.facts else ()
        names = [x.name for x in layers if x.followed_by in RECTIFIERS]
        biases = [getattr(by_path.get(name), "bias", None) for name in names]
        pushed = [bias for bias in biases if bias is not None and hasattr(bias, "data")]
        for bias in pushed:
            bias.data.sub_(shift)
        if not pushed:
            session.refuse("dead_relu", "no layer before a rectifier has a bias")
        confirm(session, "dead_relu", layers=len(pushed))

    session.on_model(push)


FAULT = Fault(
    name="dead_relu",
    summary="subtract a constant from the bias of every layer before a rectifier",
    values="the constant (default 10)",
    default=10.0,
    source="dying ReLU (Lu et al. 2019); AUTOTRAINER's dying ReLU problem",
    causes=always(Cause.DEAD_ACTIVATION, Cause.BAD_INITIALISATION),
    refusal=refusal,
    apply=apply,
    effect=counted("dead_relu", "layers", "bias was pushed"),
    validate=number("dead_relu", 0.1, 1e4),
)
