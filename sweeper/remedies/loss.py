"""Another loss of the same kind: bounded gradients for regression, cross_entropy where nll_loss is
fed logits."""

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
KINDS = (*REGRESSION, "cross_entropy")
KEPT = {"reduction", "weight", "ignore_index"}
"""Options that the new loss takes over from the program's call."""


def validate(value: FixValue) -> FixValue:
    full = _values.fields("loss", value, "loss", {})
    return _values.choice("loss", full["loss"], KINDS)


def _possible(facts: Facts) -> tuple[str, ...]:
    if facts.loss_function in REGRESSION.values():
        return tuple(k for k, v in REGRESSION.items() if v != facts.loss_function)
    if facts.loss_function == "nll_loss" and facts.output_activation != "log_softmax":
        return ("cross_entropy",)
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
        own = (
            "nll_loss" if kind == "cross_entropy" else "mse_loss l1_loss smooth_l1_loss huber_loss"
        )
        # What the program measures without gradients stays its own measure; a wrong loss is wrong
        # there too.
        if call.function not in own.split() or not (
            call.input.requires_grad or kind == "cross_entropy"
        ):
            return call
        if call.input.requires_grad:
            calls += 1
            if calls <= 3:
                session.confirm("loss", calls=calls, was=call.function)
        options = {
            k: v
            for k, v in call.options.items()
            if k in KEPT and (k != "weight" or kind == "cross_entropy")
        }
        return dataclasses.replace(
            call,
            function=REGRESSION.get(kind, kind),
            options=options,
            input=_log(call, session.facts) if kind == "cross_entropy" else call.input,
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
    }  # fmt: skip
    return f"criterion = {names[str(value)]}  # instead of {facts.loss_function}"


REMEDY = Remedy(
    name="loss",
    summary="another loss of the same kind",
    source="Huber 1964 (bounded gradients); torch.nn.NLLLoss expects log-probabilities",
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
