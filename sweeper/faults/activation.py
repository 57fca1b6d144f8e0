"""Sigmoid or tanh in every hidden place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeper.faults._base import Fault, always, confirm
from sweeper.types import Cause, Facts, FixValue, RunRecord, UsageError

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session


KINDS = ("sigmoid", "tanh")
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "relu": ("relu", "relu_"), "leaky_relu": ("leaky_relu", "leaky_relu_"), "gelu": ("gelu",),
    "silu": ("silu",), "elu": ("elu", "elu_"), "selu": ("selu", "selu_"), "mish": ("mish",),
    "relu6": ("relu6",), "hardswish": ("hardswish",),
}  # fmt: skip
"""Activation -> the functions of torch that compute it; modules and libraries call these."""


def validate(value: FixValue) -> FixValue:
    if value not in KINDS:
        raise UsageError(f"activation must be one of {', '.join(KINDS)}, got {value!r}")
    return value


def refusal(value: FixValue, facts: Facts) -> str:
    own = {s.function for s in facts.activations if s.swappable}
    if own & set(FUNCTIONS):
        return ""
    return f"its hidden activations are {', '.join(sorted(own)) or 'none'}"


def apply(session: Session, value: FixValue) -> None:
    import torch
    import torch.nn.functional as F

    from sweeper.program import seams

    squash = torch.sigmoid if value == "sigmoid" else torch.tanh

    def make(original: Any) -> Any:
        def function(input: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            return squash(input)

        return function

    assert session.facts is not None
    own = {s.function for s in session.facts.activations if s.swappable}
    for kind in sorted(own & set(FUNCTIONS)):
        for name in FUNCTIONS[kind]:
            for owner in (F, torch, torch.Tensor):
                if hasattr(owner, name):
                    seams.patch(owner, name, make)

    def operate(roots: list[torch.nn.Module]) -> None:
        from sweeper.remedies import _surgery

        _surgery.close_fast_paths(roots, list(_surgery.every_module(roots)))
        confirm(session, "activation", function=value)

    session.on_model(operate)


def effect(value: FixValue, record: RunRecord) -> str:
    functions = {s.function for s in record.facts.activations if s.swappable}
    return "" if value in functions else f"its hidden activations are {sorted(functions)}"


FAULT = Fault(
    name="activation",
    summary="sigmoid or tanh in place of every rectifier and its relatives",
    values="sigmoid or tanh (default sigmoid)",
    default="sigmoid",
    source="Glorot and Bengio 2010; AUTOTRAINER's vanishing gradients",
    causes=always(Cause.SATURATING_ACTIVATION),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=validate,
)
