"""The optimizer's weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from sweeper.program.session import Session

HARD = (0.0, 100.0)
LARGEST = 0.3
"""Largest value searched."""
NEGLIGIBLE = 1e-6
"""Smallest value searched; it stands for none (at rate 0.1 it shrinks a weight by 1 % in 100,000
steps)."""


def validate(value: FixValue) -> FixValue:
    full = _values.fields("weight_decay", value, "weight_decay", {})
    decay = _values.number("weight_decay", full["weight_decay"], *HARD)
    return decay if decay > NEGLIGIBLE else 0.0


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {
        "weight_decay": Dimension(
            kind="float",
            low=NEGLIGIBLE,
            high=LARGEST,
            log=True,
            hard_low=HARD[0],
            hard_high=HARD[1],
        )
    }


def refusal(facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    if not any(o.has_weight_decay for o in facts.optimizers):
        names = " and ".join(sorted({o.name for o in facts.optimizers}))
        return f"{names} has no weight decay"
    if any(o.sparse and o.has_weight_decay for o in facts.optimizers):
        return "torch decays no weights whose gradients are sparse"
    return ""


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    own = facts.optimizers[0].weight_decay if facts.optimizers else 0.0
    if own > 0 and _hints.belief(diagnosis, Cause.WEIGHT_DECAY_TOO_STRONG):
        return (0.0, float(f"{own / 100:.3g}"))
    if _hints.belief(diagnosis, Cause.OVERFITTING):
        # AdamW's default, and what image classifiers use with SGD (He et al. 2016: 1e-4).
        return tuple(v for v in (0.01, 1e-3) if v > own) or (LARGEST,)
    return (0.0,) if own > 0 else (0.01,)


def apply(session: Session, value: FixValue) -> None:
    value = _values.real(value)
    seen: set[float] = set()

    def decay(optimizer: Optimizer, index: int, program_value: Any) -> float:
        groups = [float(g.get("weight_decay", 0) or 0) for g in optimizer.param_groups]
        # A group without decay beside one that has it (biases, norms) is without it on purpose.
        spared = program_value == 0 and any(g > 0 for g in groups)
        return 0.0 if spared else value

    def watch(optimizer: Optimizer) -> None:
        found = {float(g["weight_decay"]) for g in optimizer.param_groups if "weight_decay" in g}
        if not found <= seen:
            seen.update(found)
            session.confirm("weight_decay", values=sorted(seen))

    session.override_group("weight_decay", decay)
    session.before_step(watch)


def effect(value: FixValue, record: RunRecord) -> str:
    value = _values.real(value)
    values = [float(v) for v in _hints.evidence(record, "weight_decay").get("values", [])]
    if value in values and all(v in (0.0, value) for v in values):
        return ""
    return f"the weight decay at the steps was {values or 'absent'}, not {value:g}"


def advice(value: FixValue, facts: Facts) -> str:
    name = facts.optimizers[0].name if facts.optimizers else "AdamW"
    return f"optimizer = torch.optim.{name}(..., weight_decay={value:g})"


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    value = _values.real(value)
    own = facts.optimizers[0].weight_decay if facts.optimizers else 0.0
    if own > 0 and value < own:
        return _values.between(max(value, own * 1e-4), own)
    return tuple(float(f"{value * share:.3g}") for share in (0.01, 0.1)) if value > own else ()


REMEDY = Remedy(
    name="weight_decay",
    summary="the optimizer's weight decay",
    source="Krogh and Hertz 1991; Loshchilov and Hutter 2019 (decoupled)",
    treats=(Cause.WEIGHT_DECAY_TOO_STRONG, Cause.OVERFITTING),
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
