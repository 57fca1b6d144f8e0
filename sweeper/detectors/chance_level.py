"""Answers no better than the constant one, on samples the run had not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._measure import from_replay, from_steps
from sweeper.detectors._stats import mean
from sweeper.detectors._view import least_rows, n_steps
from sweeper.detectors.skill import (
    FEWEST_EVALUATED,
    LATE,
    Skill,
    is_chance,
    judged,
    memorised,
    needed,
)
from sweeper.types import Finding, RunRecord, Symptom

NAMES = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "loss": "loss",
    "r2": "R squared",
}  # fmt: skip
PLACES = {
    "eval": "the last evaluation", "fresh": "fresh samples", "train": "training batches",
    "replay": "the first training batches without dropout",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ChanceLevelThresholds(Thresholds):
    skill: float = limit(0.05, 0.0, 0.5, "skill")
    """Share of the way from the constant answer to a perfect one (design)."""
    loss_skill: float = limit(0.02, 0.0, 0.5, "skill")
    """The same for the loss against the prior entropy (2 % band, design)."""
    constant: float = limit(0.95, 0.5, 1.0, "share of predictions")
    """Largest predicted-class share of a constant predictor (design; told, not judged)."""
    steps: float = limit(10, 1, 10_000, "steps")
    """Steps below which nothing can have been learned."""
    epochs: float = limit(3, 1, 1000, "epochs")
    """The same for a log by epochs."""
    unlearnt: float = limit(0.05, 0.0, 0.5, "skill")
    """Skill of the training loss under which the training samples count as not learned although
    held-out samples are understood a little (design)."""
    little: float = limit(0.5, 0.05, 1.0, "skill")
    """Held-out skill from which nobody asks how the training samples fare, or how few of them are
    of another class (design)."""
    others: float = limit(10, 1, 10_000, "samples")
    """Samples outside of the commonest class under which there is nothing to learn (design)."""


def detect(record: RunRecord, limits: ChanceLevelThresholds) -> Detected:
    least = least_rows(record, limits.steps, limits.epochs)
    if n_steps(record) < least:
        return Insufficient(f"{n_steps(record)} steps, {least} needed")
    verdict, measured = judged(record)
    proven = verdict and measured[0].where == "eval" and measured[0].value >= limits.little
    if not proven and (single := _single_class(record, limits)):
        return single
    if verdict is None:
        return Insufficient(
            "no accuracy, R squared or loss on enough samples that could be compared with the"
            " constant answer"
        )
    if verdict:
        return _unlearnt_labels(record, measured[0], limits)
    primary = measured[0]
    majority = mean(record.series("majority")[int(LATE * n_steps(record)) :])
    constant = majority >= limits.constant and max(record.facts.class_prior, default=1.0) < 0.9
    reason = (
        f"{NAMES[primary.name]} {primary.metric:.4g} on {PLACES[primary.where]} (n = {primary.n})"
        " is"
        f" {max(primary.value, -9.99):+.1%} of the way from the constant answer to a perfect one"
        f" ({_why(primary, measured, limits)})"
    )
    if constant:
        reason += f"; {majority:.0%} of the predictions of a batch name one class"
    recalled = primary.where == "fresh" and memorised(record)
    if recalled:
        reason += "; the training measure grows only by repeating the same samples"
    return Finding(
        symptom=Symptom.CHANCE_LEVEL,
        severity=0.6 if _small_gain(primary, measured, limits) else 0.9,
        reason=reason,
        steps=(int(LATE * n_steps(record)), n_steps(record) - 1),
        evidence={
            "value": primary.value,
            "threshold": _limit(primary, limits),
            "p_value": primary.p_value,
            "n": primary.n,
            "where": primary.where,
            "majority": float(majority) if np.isfinite(majority) else None,
            "memorised": recalled,
        },
    )


def _single_class(record: RunRecord, limits: ChanceLevelThresholds) -> Finding | None:
    """Hardly a training sample is of another class than the commonest: nothing is to be learned."""
    prior, seen = max(record.facts.class_prior, default=0.0), record.series("fresh_n")
    n = float(np.nansum(seen))
    if record.facts.task not in ("classification", "binary") or n < FEWEST_EVALUATED:
        return None
    others = (1 - prior) * n
    if others >= limits.others or record.foreign:
        return None
    return Finding(
        symptom=Symptom.CHANCE_LEVEL,
        severity=0.6,
        reason=f"about {others:.0f} of {n:.0f} training samples are of another class than the"
        f" commonest (limit {limits.others:g}): the constant answer is right for the rest",
        steps=(0, n_steps(record) - 1),
        evidence={"value": others, "threshold": limits.others, "n": n, "others": others},
    )


def _unlearnt_labels(
    record: RunRecord, primary: Skill, limits: ChanceLevelThresholds
) -> Finding | None:
    """Held-out samples are understood a little, and those that are trained on not at all: then the
    training fails, by its labels or by what disturbs it.

    Not for very unequal classes, whose losses are often weighted.
    """
    if primary.where != "eval" or not primary.value < limits.little or not primary.prior < 0.6:
        return None
    late = np.arange(n_steps(record)) >= int(LATE * n_steps(record))
    disturbed = any(p > 0 for p in record.facts.dropout)
    told = from_replay(record) if disturbed else from_steps(record, late, "train")
    trained = {skill.name: skill for skill in told}
    loss, accuracy = trained.get("loss"), trained.get("accuracy")
    if loss is None or accuracy is None or loss.n < needed(record.facts):
        return None
    if loss.value >= limits.unlearnt or accuracy.value >= 0.5 * primary.value:
        return None
    return Finding(
        symptom=Symptom.CHANCE_LEVEL,
        severity=0.6,
        reason=f"the loss on training batches is {loss.value:+.1%} below that of guessing (limit"
        f" {limits.unlearnt:.0%}), although {NAMES[primary.name]} {primary.metric:.4g} on"
        f" {PLACES[primary.where]} is {primary.value:.1%} of the way to a perfect one",
        steps=(int(LATE * n_steps(record)), n_steps(record) - 1),
        evidence={
            "value": loss.value, "threshold": limits.unlearnt, "held_out": primary.value,
            "where": "train", "n": loss.n,
        },
    )  # fmt: skip


def _why(primary: Skill, measured: tuple[Skill, ...], limits: ChanceLevelThresholds) -> str:
    """What made it chance: size, test, a loss no better than guessing (an untrained model has some
    accuracy by luck), or a gain too small to count."""
    least = _limit(primary, limits)
    if primary.value < least:
        return f"limit {least:.0%}"
    if not primary.significant:
        return f"which chance gives with probability {primary.p_value:.2g}"
    loss = next((s for s in measured if s.name == "loss" and s is not primary), None)
    if loss is not None and is_chance(loss, limits.loss_skill):
        return f"while the loss of {loss.metric:.4g} is that of guessing"
    return "too little to count as learning"


def _small_gain(primary: Skill, measured: tuple[Skill, ...], limits: ChanceLevelThresholds) -> bool:
    """Every measurement is above chance, and all of them too little."""
    return not any(is_chance(skill, _limit(skill, limits)) for skill in (primary, *measured))


def _limit(skill: Skill, limits: ChanceLevelThresholds) -> float:
    return limits.loss_skill if skill.name == "loss" else limits.skill


DETECTOR = Detector(
    symptom=Symptom.CHANCE_LEVEL,
    definition="the run did not learn: accuracy within chance of the majority rate (exact binomial"
    " test at 1 % or skill"
    " under 5 to 10 %) or every answer one class, and no loss clearly below the prior entropy;"
    " R squared under 10 % for regression",
    source="design; UMLAUT and AUTOTRAINER compare the accuracy with fixed numbers instead",
    thresholds=ChanceLevelThresholds(),
    detect=detect,
)
