"""Soften the targets of cross-entropy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import LossCall, Session

HARD = (0.0, 0.5)


def validate(value: FixValue) -> FixValue:
    full = _values.fields("label_smoothing", value, "label_smoothing", {})
    return _values.number("label_smoothing", full["label_smoothing"], *HARD)


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {
        "label_smoothing": Dimension(
            kind="float", low=0.0, high=0.3, hard_low=HARD[0], hard_high=HARD[1]
        )
    }


def refusal(facts: Facts) -> str:
    if facts.loss_function == "cross_entropy":
        return ""
    name = facts.loss_function or "not known"
    return f"label smoothing belongs to cross_entropy; the loss is {name}"


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    return (0.1,)  # Szegedy et al. 2016


def apply(session: Session, value: FixValue) -> None:
    amount = _values.real(value)
    calls = 0

    def smooth(call: LossCall) -> LossCall:
        nonlocal calls
        if call.function != "cross_entropy" or not call.input.requires_grad:
            return call
        calls += 1
        if calls <= 3:
            session.confirm("label_smoothing", calls=calls)
        return dataclasses.replace(call, options={**call.options, "label_smoothing": amount})

    session.on_loss(smooth)


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(record, "label_smoothing", "calls", "cross_entropy was trained")


def advice(value: FixValue, facts: Facts) -> str:
    return f"nn.CrossEntropyLoss(label_smoothing={_values.real(value):g})"


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    return (_values.real(value) / 2,) if _values.real(value) > 0.02 else ()


REMEDY = Remedy(
    name="label_smoothing",
    summary="soften the targets of cross-entropy",
    source="Szegedy et al. 2016 (arXiv 1512.00567), section 7",
    treats=(Cause.OVERFITTING,),
    structural=False,
    space=space,
    refusal=refusal,
    suggest=suggest,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=validate,
    toward_baseline=toward_baseline,
)
