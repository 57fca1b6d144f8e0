"""The shape of the learning rate over the run, in place of the program's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord, Scalar

if TYPE_CHECKING:
    from sweeper.program.session import Session

KINDS = ("constant", "linear", "cosine", "step")
DEFAULTS: dict[str, Scalar] = {"kind": "constant", "warmup": 0.0}
MAX_WARMUP = 0.5
ADAM_WARMUP_STEPS = 2000
"""2 / (1 - beta2) at beta2 = 0.999: the linear warm-up that Adam needs untuned (Ma and Yarats
2021)."""
MILESTONES = (0.5, 0.75)
"""Of the kind ``step``: the rate falls to a tenth at each (He et al. 2016)."""


def shape_of(kind: str, warmup: float) -> Callable[[int, int], float]:
    """``(step, total) -> share of the peak`` in [0, 1]; ``warmup`` is the share of the run that
    rises linearly."""

    def shape(step: int, total: int) -> float:
        rising = round(warmup * total)
        if step < rising:
            return (step + 1) / rising
        done = min(1.0, (step - rising) / max(1, total - rising))
        if kind == "linear":
            return 1.0 - done
        if kind == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
        if kind == "step":
            return float(0.1 ** sum(done >= m for m in MILESTONES))
        return 1.0

    return shape


def validate(value: FixValue) -> FixValue:
    full = _values.fields("lr_schedule", value, "kind", DEFAULTS)
    kind = _values.choice("kind of lr_schedule", full["kind"], KINDS)
    warmup = _values.number("warmup of lr_schedule", full["warmup"], 0.0, MAX_WARMUP)
    return _values.short({"kind": kind, "warmup": warmup}, "kind", DEFAULTS)


def _spelled(value: FixValue) -> tuple[str, float]:
    full = _values.fields("lr_schedule", value, "kind", DEFAULTS)
    return str(full["kind"]), float(full["warmup"])


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {
        "kind": Dimension(kind="choice", choices=KINDS),
        "warmup": Dimension(
            kind="float", low=0.0, high=MAX_WARMUP, hard_low=0.0, hard_high=MAX_WARMUP
        ),
    }


def refusal(facts: Facts) -> str:
    return _hints.without_rate(facts)


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    if _hints.belief(diagnosis, Cause.SCHEDULE_DECAYS_TOO_FAST):
        return ("constant", "cosine")
    long = min(0.33, max(0.05, round(ADAM_WARMUP_STEPS / max(1, facts.steps), 2)))
    shares = _values.distinct([long, 0.1])
    return tuple({"kind": "cosine", "warmup": share} for share in shares)


def apply(session: Session, value: FixValue) -> None:
    kind, warmup = _spelled(value)
    session.set_lr(shape=shape_of(kind, warmup))
    session.confirm("lr_schedule", kind=kind, warmup=warmup, total=session.total_steps)


def effect(value: FixValue, record: RunRecord) -> str:
    """The rates seen, over the promised shape, must be one constant (the peak) within 2 %."""
    total = int(_hints.evidence(record, "lr_schedule").get("total", 0))
    rates = record.series("lr")
    steps = record.steps["step"] if "step" in record.steps else np.arange(len(rates), dtype=float)
    if total <= 0 or not np.isfinite(rates).any():
        return "no step was made"
    shape = shape_of(*_spelled(value))
    promised = np.array([shape(int(step), total) for step in steps])
    usable = np.isfinite(rates) & (promised > 0.01)
    if not usable.any():
        return ""
    peaks = rates[usable] / promised[usable]
    spread = (
        float(np.max(peaks) / max(np.median(peaks), 1e-300) - 1),
        float(1 - np.min(peaks) / np.median(peaks)),
    )
    if max(spread) <= 0.02 or _each_its_own(peaks, record.facts):
        return ""
    return f"the rates at the steps leave the promised shape by {max(spread):.0%} of the peak"


def _each_its_own(peaks: np.ndarray[Any, Any], facts: Facts) -> bool:
    """Several optimizers, one after the other: each keeps its own peak."""
    own = np.array([o.peak_lr[0] for o in facts.optimizers if o.peak_lr and o.peak_lr[0] > 0])
    if len(own) < 2:
        return False
    return bool((np.abs(peaks[:, None] / own - 1).min(axis=1) <= 0.02).all())


def advice(value: FixValue, facts: Facts) -> str:
    kind, warmup = _spelled(value)
    steps = facts.steps or 1000
    rising = round(warmup * steps)
    rest = steps - rising
    body = {
        "constant": f"ConstantLR(optimizer, factor=1.0, total_iters={rest})",
        "linear": f"LinearLR(optimizer, 1.0, 1e-8, total_iters={rest})",
        "cosine": f"CosineAnnealingLR(optimizer, T_max={rest})",
        "step": f"MultiStepLR(optimizer, {[round(rest * m) for m in MILESTONES]})",
    }[kind]
    if not rising:
        return f"scheduler = torch.optim.lr_scheduler.{body}  # step it after every optimizer step"
    return (
        f"warmup = LinearLR(optimizer, {1 / rising:.3g}, 1.0, total_iters={rising})\n"
        f"scheduler = SequentialLR(optimizer, [warmup, {body}], [{rising}])"
        "  # step it after every optimizer step"
    )


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    kind, warmup = _spelled(value)
    shares = [round(warmup * share, 3) for share in (0.0, 0.5)] if warmup >= 0.02 else []
    return tuple(validate({"kind": kind, "warmup": share}) for share in shares)


REMEDY = Remedy(
    name="lr_schedule",
    summary="the shape of the rate: constant, linear, cosine or step, with a warm-up share",
    source="Goyal et al. 2017, Ma and Yarats 2021 (warm-up); Loshchilov and Hutter 2017",
    treats=(
        Cause.MISSING_WARMUP, Cause.SCHEDULE_DECAYS_TOO_FAST, Cause.LEARNING_RATE_TOO_HIGH,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
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
