"""The rate of every dropout module; 0 switches them off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session

HARD = (0.0, 0.95)


def validate(value: FixValue) -> FixValue:
    full = _values.fields("dropout", value, "dropout", {})
    return _values.number("dropout", full["dropout"], *HARD)


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {
        "dropout": Dimension(kind="float", low=0.0, high=0.8, hard_low=HARD[0], hard_high=HARD[1])
    }


def refusal(facts: Facts) -> str:
    return "" if facts.dropout else "the model has no active dropout module"


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    own = max(facts.dropout, default=0.0)
    if _hints.belief(diagnosis, Cause.OVERFITTING) > _hints.belief(
        diagnosis, Cause.DROPOUT_TOO_STRONG
    ):
        return tuple(v for v in (0.3, 0.5) if v > own) or (0.7,)
    return (0.0, 0.1) if own > 0.15 else (0.0,)


def apply(session: Session, value: FixValue) -> None:
    rate = _values.real(value)
    changed: list[nn.Module] = []

    def operate(roots: list[nn.Module]) -> None:
        from sweeper.remedies import _dropout

        changed.extend(_dropout.set_rate(roots, rate))
        if not changed:
            session.refuse("dropout", "the model has no dropout module")
        session.confirm("dropout", modules=len(changed), held=0)

    def check(optimizer: object) -> None:
        from sweeper.remedies import _dropout

        if session.step < 2:
            session.confirm("dropout", held=sum(_dropout.rate_of(m) == rate for m in changed))

    session.on_model(operate)
    session.before_step(check)


def effect(value: FixValue, record: RunRecord) -> str:
    seen = _hints.evidence(record, "dropout")
    modules, held = int(seen.get("modules", 0)), int(seen.get("held", 0))
    return (
        ""
        if modules and held == modules
        else f"{held} of {modules} modules had the rate at the first steps"
    )


def advice(value: FixValue, facts: Facts) -> str:
    own = ", ".join(f"{p:g}" for p in sorted(set(facts.dropout)))
    return f"nn.Dropout({_values.real(value):g})  # instead of {own}"


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    rate, own = _values.real(value), max(facts.dropout, default=0.0)
    return (round((rate + own) / 2, 3),) if abs(rate - own) > 0.1 else ()


REMEDY = Remedy(
    name="dropout",
    summary="the rate of every dropout module",
    source="Srivastava et al. 2014",
    treats=(Cause.DROPOUT_TOO_STRONG, Cause.OVERFITTING),
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
