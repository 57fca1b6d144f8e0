"""Trials and remedies that need no program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sweeper.remedies._base import Remedy, nothing_milder
from sweeper.types import Facts, Fix, FixValue, Judgement, Outcome, Trial


def _milder(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    assert isinstance(value, float)
    return (value * 100, value * 10)


def _remedy(name: str) -> Remedy:
    return Remedy(
        name=name,
        summary=name,
        source="test",
        treats=(),
        structural=False,
        space=lambda facts: {},
        refusal=lambda facts: "",
        suggest=lambda facts, diagnosis: (),
        apply=lambda session, value: None,
        effect=lambda value, record: "",
        advice=lambda value, facts: "",
        validate=lambda value: value,
        toward_baseline=_milder if name == "learning_rate" else nothing_milder,
    )


REMEDIES = {n: _remedy(n) for n in ("activation", "clip_norm", "learning_rate", "zero_grad")}


def trial(
    changes: Mapping[str, FixValue], skill: float, *, seed: int = 0, phase: str = "elimination"
) -> Trial:
    """A finished trial, restored from a skill of 0.5."""
    good = skill >= 0.5
    fix = Fix(changes=changes)
    return Trial(
        number=0,
        phase=phase,  # type: ignore[arg-type]
        fix=fix,
        seed=seed,
        outcome=Outcome(status="finished", steps=100),
        judgement=Judgement(
            restored=good,
            score=skill,
            skill=skill,
            metric_name="accuracy",
            metric=skill,
            reasons=() if good else ("not learning: planted",),
        ),
        folder=Path(f"{fix.hash}-s{seed}"),
    )
