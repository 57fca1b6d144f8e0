"""Bring outlying inputs back to so many robust standard deviations from their feature's median."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import Session

HARD = (1.0, 100.0)


def validate(value: FixValue) -> FixValue:
    full = _values.fields("clamp_outliers", value, "clamp_outliers", {})
    return _values.number("clamp_outliers", full["clamp_outliers"], *HARD)


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {
        "clamp_outliers": Dimension(
            kind="float", low=2.0, high=20.0, log=True, hard_low=HARD[0], hard_high=HARD[1]
        )
    }


def refusal(facts: Facts) -> str:
    return _hints.integer_inputs(facts)


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    return (5.0, 10.0)


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import _inputs

    limit = _values.real(value)
    clamps: list[_inputs.Clamp] = []

    def make() -> _inputs.Clamp:
        clamps.append(_inputs.Clamp(limit))
        return clamps[-1]

    def report(optimizer: object) -> None:
        if session.step < 100 or session.step % 100 == 0:
            session.confirm("clamp_outliers", clamped=sum(int(c.clamped) for c in clamps))

    _inputs.on_raw_input(session, "clamp_outliers", make)
    session.before_step(report)


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(
        record, "clamp_outliers", "clamped", "input value lay outside the limits"
    )


def advice(value: FixValue, facts: Facts) -> str:
    limit = _values.real(value)
    return (
        "median = X_train.median(0).values\n"
        "spread = (X_train.quantile(0.75, 0) - X_train.quantile(0.25, 0)) / 1.349\n"
        f"X = X.clamp(median - {limit:g} * spread, median + {limit:g} * spread)"
    )


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    return _values.between(_values.real(value), 50.0)


REMEDY = Remedy(
    name="clamp_outliers",
    summary="bring outlying inputs back to so many robust standard deviations",
    source="Huber 1981 (interquartile range / 1.349 estimates a standard deviation); winsorising",
    treats=(Cause.INPUT_OUTLIERS,),
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
