"""What a log and the user's hints show the program to be: little, and nothing is made up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sweeper.telemetry.foreign import levels
from sweeper.telemetry.foreign.names import words_of
from sweeper.telemetry.foreign.series import Work
from sweeper.types import EvalSeries, Facts, OptimizerFact

if TYPE_CHECKING:
    from sweeper.types import Floats

Task = Literal["classification", "regression", "language_model"]
TASKS: tuple[str, ...] = get_args(Task)
TAIL = 0.2
"""First step over the last from which a log is the later part of a run (design)."""
UNTRAINED = 0.5
"""First loss over ln K under which a model was trained before (design)."""
IN_NATS = 1.5
"""Smallest of the first losses over ln K from which a loss need not be a mean in nats (design)."""
LANGUAGE = frozenset({"perplexity", "ppl", "token", "tokens", "bpb", "bpc"})
SQUARED = frozenset({"mse", "rmse", "mae"})


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What the user says beside the log."""

    classes: int = 0
    task: Task | None = None


def facts_of(
    work: Work, hints: Hints, steps: Mapping[str, Floats], evals: EvalSeries | None
) -> Facts:
    """Facts of one run; fields that a log cannot tell keep their defaults."""
    step = steps["step"]
    loss = steps.get("loss", np.full(len(step), np.nan))
    task, classes = _task_and_classes(work, hints, loss, _accuracy(steps, evals))
    tail = _is_tail(step)
    if tail:
        work.note(
            f"the log begins at step {step[0]:g}: it is the later part of a run, whose loss need"
            " not fall any more"
        )
    early = loss[np.isfinite(loss)][:5]
    known = bool(classes > 1 and len(early))
    in_nats = known and float(early.min()) < IN_NATS * math.log(classes)
    if known and not in_nats:
        work.note(
            f"the losses begin at {early[0]:.4g} where guessing among {classes} classes costs"
            f" {math.log(classes):.4g}: a sum, or a bad start; they are not compared with that"
        )
    trained = known and float(np.median(early)) < UNTRAINED * math.log(classes)
    rivals = work.part.adversarial or work.table.reinforcement
    if work.part.adversarial:
        work.note("two losses are trained against each other: their levels say nothing")
    elif rivals:
        work.note("reinforcement learning: the loss does not measure what was learned")
    optimizer = _optimizer(steps.get("lr", np.zeros(0)))
    return Facts(
        task=task,
        n_classes=classes,
        head_width=classes,
        class_prior=(1 / classes,) * classes if classes else (),
        loss_function="cross_entropy" if in_nats else "",
        batch_size=work.table.batch_size,
        optimizers=(optimizer, optimizer) if rivals else (optimizer,),
        n_roots=2 if rivals else 1,
        backwards_per_step=2 if rivals else 1,
        pretrained=tail or trained,
        steps=len(step),
    )


def _task_and_classes(
    work: Work, hints: Hints, loss: Floats, accuracy: Floats | None
) -> tuple[Literal["classification", "regression", "language_model", "unknown"], int]:
    classes = hints.classes
    if not classes and accuracy is not None and hints.task != "regression":
        classes = levels.guess_classes(loss, accuracy)
        if classes:
            work.note(
                f"{classes} classes, by losses near ln {classes} beside accuracies near"
                f" 1/{classes}; --classes says otherwise"
            )
    if hints.task is not None:
        return hints.task, classes if hints.task != "regression" else 0
    words = {w for i in work.part.columns.values() for w in words_of(work.table.columns[i].name)}
    if words & LANGUAGE or any(r.endswith("perplexity") for r in work.part.columns):
        return "language_model", classes
    if classes:
        return "classification", classes
    return ("regression" if words & SQUARED else "unknown"), 0


def _accuracy(steps: Mapping[str, Floats], evals: EvalSeries | None) -> Floats | None:
    """Accuracies that stand beside the losses: those of training, else one evaluation a row."""
    if "accuracy" in steps:
        return steps["accuracy"]
    if evals is not None and len(evals.accuracy) >= 0.5 * len(steps["step"]):
        return evals.accuracy
    return None


def _optimizer(lr: Floats) -> OptimizerFact:
    """An optimizer of unknown kind with the rates of the log."""
    known = lr[np.isfinite(lr)]
    first, last, peak = (
        (float(known[0]), float(known[-1]), float(known.max())) if len(known) else (math.nan,) * 3
    )
    return OptimizerFact(
        name="", peak_lr=(peak,), first_lr=first, last_lr=last, weight_decay=math.nan,
        momentum=math.nan, n_parameters=0, n_frozen=0, n_without_grad=0, n_missing=0,
    )  # fmt: skip


def _is_tail(step: Floats) -> bool:
    """A log that begins far behind the start of its run."""
    if len(step) < 3:
        return False
    gap = float(np.median(np.diff(step)))
    return bool(step[0] > max(TAIL * step[-1], 3 * gap))
