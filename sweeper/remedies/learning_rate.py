"""The peak learning rate; the program's own schedule keeps its shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.remedies._rates import customary_rate
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import Session

HARD = (1e-9, 1e3)
SEARCHED = (1e-6, 10.0)
TOLERANCE = 0.03
"""Relative, between the promised peak and the largest rate seen: schedules may step over theirs."""
TOO_HIGH = (Cause.LEARNING_RATE_TOO_HIGH, Cause.UNBOUNDED_GRADIENT, Cause.MISSING_WARMUP)
TOO_LOW = (
    Cause.LEARNING_RATE_TOO_LOW,
    Cause.OPTIMIZER_MISMATCH,
    Cause.CLIP_TOO_TIGHT,
    Cause.BATCH_TOO_LARGE,
)


def validate(value: FixValue) -> FixValue:
    full = _values.fields("learning_rate", value, "learning_rate", {})
    return _values.number("learning_rate", full["learning_rate"], *HARD)


def space(facts: Facts) -> Mapping[str, Dimension]:
    low, high = SEARCHED
    return {
        "learning_rate": Dimension(
            kind="float", low=low, high=high, log=True, hard_low=HARD[0], hard_high=HARD[1]
        )
    }


def refusal(facts: Facts) -> str:
    return _hints.without_rate(facts)


FAR = 100.0
"""Factor between the program's peak and the customary rate that leaves room for a rate between."""


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    """Decades from the program's own peak towards what the diagnosis says, the customary rate among
    them.

    A tenth first (AUTOTRAINER and Smith 2017 move by factors of ten), then the customary rate of
    the optimizer where it lies on that side, then further. A customary rate more than two decades
    away may be wrong for this model by one: the rate between comes next.
    """
    peak = _hints.peak_rate(facts)
    custom = customary_rate(_hints.optimizer_name(facts), facts)
    if math.isnan(peak):
        return (custom,) if math.isfinite(custom) else (1e-3,)
    down, up = _hints.belief(diagnosis, *TOO_HIGH), _hints.belief(diagnosis, *TOO_LOW)
    if down == up:  # nothing known: the side on which the customary rate lies
        down, up = (1.0, 0.0) if not custom > peak else (0.0, 1.0)
    steps = [1 / 10, 1 / 30, 1 / 100, 1 / 3] if down > up else [10.0, 100.0, 1000.0, 3.0]
    first = (
        [custom]
        if math.isfinite(custom) and (custom < peak / 2 if down > up else custom > peak * 2)
        else []
    )
    if first and max(custom / peak, peak / custom) > FAR:
        first.append(custom * 10 if down > up else custom / 10)
    wanted = [*first, *(peak * step for step in steps)]
    return _values.distinct([v for v in wanted if SEARCHED[0] <= v <= SEARCHED[1]], ratio=2.0)


def apply(session: Session, value: FixValue) -> None:
    session.set_lr(peak=_values.real(value))
    session.confirm("learning_rate", peak=value)


def effect(value: FixValue, record: RunRecord) -> str:
    value = _values.real(value)
    rates = _hints.finite(record.series("lr"))
    if len(rates) == 0:
        return "no step was made"
    peak = float(rates.max())
    if abs(peak / value - 1) <= TOLERANCE:
        return ""
    rising = float(rates[-1]) == peak and (len(rates) < 2 or rates[-1] > rates[-2])
    if peak < value and rising and (len(rates) > 1 or peak == 0):
        return ""  # the run ended while a warm-up was still rising
    return f"the largest rate at a step was {peak:.3g}, not {value:.3g}"


def advice(value: FixValue, facts: Facts) -> str:
    name = facts.optimizers[0].name if facts.optimizers else "SGD"
    line = f"optimizer = torch.optim.{name}(..., lr={value:g})"
    if facts.lr_written_by_program:
        line += f"  # and the rate that the loop writes into its groups: at most {value:g}"
    return line


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    return _values.between(_values.real(value), _hints.peak_rate(facts))


REMEDY = Remedy(
    name="learning_rate",
    summary="the peak learning rate; the program's schedule keeps its shape",
    source="Smith 2017 (arXiv 1506.01186); AUTOTRAINER's lr x 10^k; customary rates in _rates.py",
    treats=(
        Cause.LEARNING_RATE_TOO_HIGH, Cause.LEARNING_RATE_TOO_LOW, Cause.OPTIMIZER_MISMATCH,
        Cause.UNBOUNDED_GRADIENT, Cause.MISSING_WARMUP,
    ),
    structural=False,
    space=space,
    refusal=refusal,
    suggest=suggest,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=validate,
    toward_baseline=toward_baseline,
)  # fmt: skip
