"""Small results of a study, made up, for the tests of the report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from sweeper.execution.jobs import write_job, write_outcome
from sweeper.report.study_result import RemedyRow, StudyResult
from sweeper.telemetry.signals import SignalWriter
from sweeper.types import (
    Cause,
    Diagnosis,
    Facts,
    Finding,
    Fix,
    FixValue,
    Hypothesis,
    Interval,
    Job,
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


def write_run(
    folder: Path,
    *,
    seed: int = 0,
    changes: dict[str, FixValue] | None = None,
    steps: int = 60,
    final: float = 2.3,
    layers: tuple[str, ...] = ("net.0.weight", "net.2.weight", "net.4.weight"),
    broken_from: int | None = None,
    program: Program | None = None,
) -> None:
    """A small run record, made up: a loss that falls to ``final``, evaluations, two samples of
    layers and hidden outputs."""
    folder.mkdir(parents=True)
    writer = SignalWriter(folder / "signals.jsonl")
    loss = [2.3 + (final - 2.3) * t / steps for t in range(steps)]
    if broken_from is not None:
        loss[broken_from:] = [math.nan] * (steps - broken_from)
    writer.write("steps", t=list(range(steps)), loss=loss, n=[32.0] * steps)
    for t in (0, steps - 10):
        ones = [1.0] * len(layers)
        names = {"names": list(layers), "sizes": [100] * len(layers)} if t == 0 else {}
        writer.write(
            "layers", t=t, **names, grad_norm=[10.0**-i for i in range(len(layers))],
            weight_norm=ones, update_norm=[1e-3 * v for v in ones],
            adam_below_eps=[math.nan] * len(layers), first_update_sum=[0.0],
        )  # fmt: skip
        writer.write(
            "activations", t=t, names=["net.4"], functions=["pooled"], n=[32], cosine=[0.5],
            erank=[3.0], dead=[math.nan], saturated=[math.nan],
        )  # fmt: skip
    for t in (20, 40, steps):
        writer.write("eval", t=t, n=100, loss=math.nan, accuracy=0.1 + (2.3 - final) / 3,
                     skill=math.nan, fresh_share=1.0)  # fmt: skip
    writer.close()
    outcome = Outcome(status="finished", steps=steps, seconds=1.0, versions={"torch": "2.13.0"})
    write_outcome(folder, outcome)
    (folder / "facts.json").write_text(json.dumps(FACTS.to_dict()))
    if program is not None:
        write_job(
            Job(program=program, fix=Fix(changes=changes or {}), seed=seed, folder=folder,
                facts=FACTS if changes else None)
        )  # fmt: skip


def with_runs(result: StudyResult, **fields: Any) -> StudyResult:
    """The result with a run record for each of its trials that ran."""
    for one in (*result.trials, *(t for fix in result.fixes for t in fix.trials)):
        if one.outcome.ran and not one.folder.exists():
            write_run(one.folder, final=0.3 if one.fix.changes else 2.3, **fields)
    return result
