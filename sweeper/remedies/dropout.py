"""The rate of every dropout, module or called function; 0 switches them off."""

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
    return "" if facts.dropout else "the model has no active dropout"


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    own = max(facts.dropout, default=0.0)
    if _hints.belief(diagnosis, Cause.OVERFITTING) > _hints.belief(
        diagnosis, Cause.DROPOUT_TOO_STRONG
    ):
        return tuple(v for v in (0.3, 0.5) if v > own) or (0.7,)
    return (0.0, 0.1) if own > 0.15 else (0.0,)


def apply(session: Session, value: FixValue) -> None:
    from sweeper.program._dropout_calls import RATED_CALLS
    from sweeper.remedies import _dropout, _surgery

    rate = _values.real(value)
    calls = _dropout.Rated(rate)
    changed: list[tuple[nn.Module, str]] = []
    called = session.facts is None or session.facts.n_dropout_calls > 0
    if called:
        session.functions.wrap(RATED_CALLS, calls)

    def surgery(operation: _surgery.Operation) -> None:
        changed.extend(_dropout.places(operation.roots))
        if not (changed or called):
            operation.refuse("the model has no dropout that could be set")
        for module, name in changed:
            operation.set(module, name, rate)
        session.confirm("dropout", modules=len(changed), held=0, calls=0)

    def check(optimizer: object) -> None:
        if session.step < 2:
            held = sum(getattr(module, name) == rate for module, name in changed)
            session.confirm("dropout", held=held, calls=calls.use.calls)

    _surgery.operate(session, "dropout", surgery)
    session.before_step(check)


def effect(value: FixValue, record: RunRecord) -> str:
    seen = _hints.evidence(record, "dropout")
    modules, held = int(seen.get("modules", 0)), int(seen.get("held", 0))
    if held < modules:
        return f"{held} of {modules} modules had the rate at the first steps"
    return "" if modules or seen.get("calls") else "nothing dropped at the first steps"


def advice(value: FixValue, facts: Facts) -> str:
    own = ", ".join(f"{p:g}" for p in sorted(set(facts.dropout)))
    return f"nn.Dropout({_values.real(value):g})  # instead of {own}"


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    rate, own = _values.real(value), max(facts.dropout, default=0.0)
    return (round((rate + own) / 2, 3),) if abs(rate - own) > 0.1 else ()


REMEDY = Remedy(
    name="dropout",
    summary="the rate of every dropout",
    source="Srivastava et al. 2014",
    treats=(Cause.DROPOUT_TOO_STRONG, Cause.OVERFITTING),
    structural=False,
    space=space, refusal=refusal, suggest=suggest, apply=apply, effect=effect, advice=advice,
    validate=validate, toward_baseline=toward_baseline,
)  # fmt: skip
