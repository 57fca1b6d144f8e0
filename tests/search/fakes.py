"""Remedies and trials that need no program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from sweeper.remedies._base import Remedy, nothing_milder
from sweeper.types import (
    Diagnosis,
    Dimension,
    Facts,
    Fix,
    FixValue,
    Judgement,
    Outcome,
    Trial,
    UsageError,
)

RATE = Dimension(kind="float", low=1e-5, high=1.0, log=True, hard_low=1e-9, hard_high=100.0)
KIND = Dimension(kind="choice", choices=("relu", "tanh", "gelu"))
NORM = Dimension(kind="float", low=0.1, high=10.0, log=True, hard_low=1e-3, hard_high=1e3)
TYPE = Dimension(kind="choice", choices=(1.0, 2.0))


def _rate(value: FixValue) -> FixValue:
    if isinstance(value, Mapping):
        value = value["learning_rate"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 100:
        raise UsageError(f"learning_rate must be in (0, 100], got {value!r}")
    return float(value)


def _kind(value: FixValue) -> FixValue:
    if isinstance(value, Mapping):
        value = value["activation"]
    if value not in KIND.choices:
        raise UsageError(f"activation must be one of {KIND.choices}, got {value!r}")
    return value


def _clip(value: FixValue) -> FixValue:
    if not isinstance(value, Mapping):
        value = {"max_norm": value, "norm_type": 2.0}
    if set(value) != {"max_norm", "norm_type"}:
        raise UsageError(f"clip_norm needs max_norm and norm_type, got {value!r}")
    return float(value["max_norm"]) if value["norm_type"] == 2.0 else dict(value)


def _flag(value: FixValue) -> FixValue:
    if value is True or value == {}:
        return True
    raise UsageError(f"zero_grad is true or left out, got {value!r}")


def _milder(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    assert isinstance(value, float)
    return (value * 100, value * 10)


def _remedy(name, space, suggest, validate, milder=nothing_milder):  # type: ignore[no-untyped-def]
    return Remedy(
        name=name,
        summary=name,
        source="test",
        treats=(),
        structural=False,
        space=lambda facts: space,
        refusal=lambda facts: "no loader" if name == "batch_size" else "",
        suggest=lambda facts, diagnosis: suggest,
        apply=lambda session, value: None,
        effect=lambda value, record: "",
        advice=lambda value, facts: "",
        validate=validate,
        toward_baseline=milder,
    )


REMEDIES: dict[str, Remedy] = {
    "activation": _remedy("activation", {"activation": KIND}, ("relu", "gelu"), _kind),
    "batch_size": _remedy("batch_size", {"batch_size": RATE}, (32.0,), _rate),
    "clip_norm": _remedy("clip_norm", {"max_norm": NORM, "norm_type": TYPE}, (1.0,), _clip),
    "learning_rate": _remedy("learning_rate", {"learning_rate": RATE}, (1e-3,), _rate, _milder),
    "zero_grad": _remedy("zero_grad", {}, (True,), _flag),
}

NOTHING = Diagnosis(findings=(), hypotheses=())


def judgement(skill: float, restored: bool | None = None, excess: float = 0.0) -> Judgement:
    """A judgement of a finite run; restored from a skill of 0.5 unless said."""
    good = skill >= 0.5 if restored is None else restored
    return Judgement(
        restored=good,
        score=skill,
        skill=skill,
        metric_name="accuracy",
        metric=skill,
        reasons=() if good else ("not learning: planted",),
        violations={"finite": -1.0, "learning": -1.0 if good else 0.1 + excess},
    )


def trial(
    changes: Mapping[str, FixValue],
    skill: float = 0.0,
    *,
    phase: str = "joint",
    seed: int = 0,
    status: str = "finished",
    restored: bool | None = None,
    number: int = 0,
) -> Trial:
    """A finished trial; other statuses have no judgement."""
    fix = Fix(changes=changes)
    return Trial(
        number=number,
        phase=phase,  # type: ignore[arg-type]
        fix=fix,
        seed=seed,
        outcome=Outcome(status=status, steps=100),  # type: ignore[arg-type]
        judgement=judgement(skill, restored) if status == "finished" else None,
        folder=Path(f"{fix.hash}-s{seed}"),
    )


def skill_of(changes: Mapping[str, FixValue]) -> float:
    """A landscape where activation and a small rate are both needed; the rest is idle."""
    skill = 0.0
    if changes.get("activation") == "relu":
        skill += 0.3
    rate = changes.get("learning_rate")
    if isinstance(rate, float):
        skill += 0.6 * math.exp(-abs(math.log10(rate / 3e-3)))
    return skill
