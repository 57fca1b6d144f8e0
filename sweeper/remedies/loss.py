"""Another loss of the same kind: bounded gradients for regression, cross_entropy where nll_loss is
fed logits, the binary one where cross_entropy is fed a single output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import LossCall, Session

REGRESSION = {
    "huber": "huber_loss",
    "smooth_l1": "smooth_l1_loss",
    "l1": "l1_loss",
    "mse": "mse_loss",
}
OTHERS = {
    "cross_entropy": "cross_entropy", "bce_with_logits": "binary_cross_entropy_with_logits",
}  # fmt: skip
REPLACED = {"cross_entropy": ("nll_loss",), "bce_with_logits": ("cross_entropy",)}
"""The losses that these stand for; those of `REGRESSION` stand for each other."""
KINDS = (*REGRESSION, *OTHERS)
KEPT = {"reduction", "weight", "ignore_index"}
"""Options that the new loss takes over from the program's call (the reduction alone where the
classes go)."""


def validate(value: FixValue) -> FixValue:
    full = _values.fields("loss", value, "loss", {})
    return _values.choice("loss", full["loss"], KINDS)


def _possible(facts: Facts) -> tuple[str, ...]:
    if facts.loss_function in REGRESSION.values():
        return tuple(k for k, v in REGRESSION.items() if v != facts.loss_function)
    if facts.loss_function == "nll_loss" and facts.output_activation != "log_softmax":
        return ("cross_entropy",)
    if (
        facts.loss_function == "cross_entropy" and facts.head_width == 1
        and (facts.label_min, facts.label_max) == (0, 1)
    ):  # fmt: skip
        return ("bce_with_logits",)
    return ()


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {"loss": Dimension(kind="choice", choices=_possible(facts) or ("cross_entropy",))}


def refusal(facts: Facts) -> str:
    if _possible(facts):
        return ""
    ends = f" behind {facts.output_activation}" if facts.output_activation else ""
    return f"no other loss fits the program's {facts.loss_function or 'unknown loss'}{ends}"


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    return (_possible(facts) or ("cross_entropy",))[:1]


def apply(session: Session, value: FixValue) -> None:
    kind = str(value)
    calls = 0

    def change(call: LossCall) -> LossCall:
        nonlocal calls
        own = REPLACED.get(kind, tuple(REGRESSION.values()))
        # What the program measures without gradients stays its own measure; a wrong loss is wrong
        # there too.
        if call.function not in own or not (call.input.requires_grad or kind in OTHERS):
            return call
        if kind == "bce_with_logits" and call.target.numel() != call.input.numel():
            session.refuse("loss", "its targets are not one for each output")
        if call.input.requires_grad:
            calls += 1
            if calls <= 3:
                session.confirm("loss", calls=calls, was=call.function)
        shared = KEPT if kind == "cross_entropy" else {"reduction"}
        options = {k: v for k, v in call.options.items() if k in shared}
        return dataclasses.replace(
            call,
            function=(REGRESSION | OTHERS)[kind],
            options=options,
            input=_log(call, session.facts) if kind == "cross_entropy" else call.input,
            target=(
                call.target.view_as(call.input).to(call.input.dtype)
                if kind == "bce_with_logits"
                else call.target
            ),
        )

    session.on_loss(change)


def _log(call: LossCall, facts: Facts | None):  # type: ignore[no-untyped-def]
    """nll_loss fed probabilities: their logarithm has the same softmax."""
    import torch

    if facts is None or facts.output_activation != "softmax":
        return call.input
    return call.input.clamp_min(torch.finfo(call.input.dtype).tiny).log()


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(record, "loss", "calls", "training loss was replaced")


def advice(value: FixValue, facts: Facts) -> str:
    names = {
        "huber": "nn.HuberLoss()", "smooth_l1": "nn.SmoothL1Loss()", "l1": "nn.L1Loss()",
        "mse": "nn.MSELoss()", "cross_entropy": "nn.CrossEntropyLoss()",
        "bce_with_logits": "nn.BCEWithLogitsLoss()",
    }  # fmt: skip
    line = f"criterion = {names[str(value)]}  # instead of {facts.loss_function}"
    if value == "bce_with_logits":
        line += "; targets as floats in the shape of the output"
    return line


REMEDY = Remedy(
    name="loss",
    summary="another loss of the same kind",
    source="Huber 1964 (bounded gradients); torch.nn.NLLLoss expects log-probabilities,"
    " torch.nn.CrossEntropyLoss an output for each class",
    treats=(Cause.WRONG_LOSS, Cause.UNBOUNDED_GRADIENT, Cause.INPUT_OUTLIERS),
    structural=False,
    space=space,
    refusal=refusal,
    suggest=suggest,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=validate,
)
