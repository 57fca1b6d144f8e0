"""Small results of a study, made up, for the tests of the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sweeper.report.study_result import RemedyRow, StudyResult
from sweeper.types import (
    Cause,
    Diagnosis,
    Facts,
    Finding,
    Fix,
    FixValue,
    Hypothesis,
    Interval,
    Judgement,
    LoaderFact,
    OptimizerFact,
    Outcome,
    Program,
    Symptom,
    Trial,
    VerifiedFix,
)

FACTS = Facts(
    task="classification",
    loss_function="cross_entropy",
    n_classes=10,
    class_prior=(0.11, 0.09),
    optimizers=(
        OptimizerFact(
            name="SGD",
            peak_lr=(0.01,),
            first_lr=0.01,
            last_lr=0.01,
            weight_decay=0.0,
            momentum=0.0,
            n_parameters=26,
            n_frozen=0,
            n_without_grad=0,
            n_missing=0,
        ),
    ),
    loaders=(LoaderFact(index=0, batch_size=32, n_samples=None, n_batches=45, trained=True),),
    steps=360,
    finished=True,
)


def program(folder: Path) -> Program:
    path = folder / "train.py"
    path.write_text("print('final accuracy 0.1')\n")
    return Program(kind="script", name="train", path=path, target=str(path), cwd=folder)


def trial(
    study: Path,
    changes: dict[str, FixValue],
    *,
    metric: float = 0.1,
    restored: bool = False,
    seed: int = 0,
    **fields: Any,
) -> Trial:
    fix = Fix(changes=changes)
    judgement = Judgement(
        restored=restored,
        score=metric,
        skill=metric,
        metric_name="accuracy",
        metric=metric,
        reasons=() if restored else ("learning: no better than chance",),
    )
    return Trial(
        **{
            "number": 0,
            "phase": "screening",
            "fix": fix,
            "seed": seed,
            "judgement": judgement,
            "outcome": Outcome(status="finished", steps=360, seconds=1.25),
            "folder": study / "runs" / f"{fix.hash}-s{seed}",
            **fields,
        }
    )


def verified(
    study: Path,
    changes: dict[str, FixValue],
    *,
    metric: float = 0.95,
    restored: int = 5,
    seeds: int = 5,
    wilson_low: float = 0.5655,
    steps: int = 360,
    name: str = "accuracy",
    is_verified: bool = True,
) -> VerifiedFix:
    return VerifiedFix(
        fix=Fix(changes=changes),
        verified=is_verified,
        restored=restored,
        seeds=seeds,
        metric_name=name,
        wilson=Interval(value=restored / seeds, low=wilson_low, high=1.0),
        metric=Interval(value=metric, low=metric - 0.01, high=metric + 0.01),
        baseline_metric=0.1,
        paired_difference=Interval(value=metric - 0.1, low=metric - 0.12, high=metric - 0.08),
        skill=0.9,
        steps=steps,
        necessary=dict.fromkeys(changes, True),
        trials=tuple(
            trial(
                study,
                changes,
                metric=metric,
                restored=i < restored,
                seed=1001 + i,
                phase="verification",
            )
            for i in range(seeds)
        ),
    )


def study_result(study: Path, **fields: Any) -> StudyResult:
    """Fixed: two verified fixes and one that only improved."""
    broken = trial(
        study, {"clip_norm": 1.0}, metric=0.1, not_applied={"clip_norm": '=HYPERLINK("x")\nno clip'}
    )
    crashed = trial(
        study,
        {},
        seed=2,
        judgement=None,
        phase="control",
        outcome=Outcome(status="out_of_memory", steps=3, seconds=0.5, error="-9, killed"),
    )
    values: dict[str, Any] = {
        "verdict": "fixed",
        "verdict_reason": "normalisation=batch restores training on 5 of 5 fresh seeds",
        "program": program(study),
        "facts": FACTS,
        "diagnosis": Diagnosis(
            findings=(
                Finding(
                    symptom=Symptom.FLAT_LOSS,
                    severity=0.9,
                    reason="loss stays at 2.303 | ln 10",
                    steps=(0, 359),
                    layers=("net.0",),
                    evidence={"value": 2.303, "threshold": math.inf},
                ),
            ),
            hypotheses=(
                Hypothesis(
                    cause=Cause.SATURATING_ACTIVATION,
                    belief=0.7,
                    reason="gradient falls by layer",
                    remedies=("activation", "normalisation"),
                ),
            ),
        ),
        "fixes": (
            verified(
                study,
                {"activation": "relu"},
                metric=0.5,
                restored=2,
                wilson_low=0.1,
                is_verified=False,
            ),
            verified(study, {"learning_rate": 0.1, "normalisation": "batch"}, metric=0.97),
            verified(study, {"normalisation": "batch"}, metric=0.955),
        ),
        "trials": (
            trial(study, {}, phase="baseline", metric=math.nan),
            trial(study, {"normalisation": "batch"}, metric=0.955, restored=True),
            trial(study, {"learning_rate": 0.1}, metric=0.11),
            broken,
            crashed,
        ),
        "remedies": (
            RemedyRow(remedy="clip_norm", alone="not applied", reason="no clip"),
            RemedyRow(remedy="learning_rate", alone="not restored", necessary_in=(2,)),
            RemedyRow(remedy="normalisation", alone="restored", necessary_in=(1, 2)),
        ),
        "not_applicable": {"batch_size": "the program slices tensors itself"},
        "importance": {"normalisation": 0.8, "learning_rate": 0.2},
        "cost": {"runs": 20, "training_steps": 7200, "wall_seconds": 12.5},
        "seeds": (1001, 1002, 1003, 1004, 1005),
        "containment": "overlay",
        "versions": {"torch": "2.13.0"},
        "notes": ("horizon: 360 steps",),
    }
    return StudyResult(**{**values, **fields})
