"""Answers no better than the constant one, on samples the run had not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.detectors._base import Detected, Detector, Insufficient, Thresholds, limit
from sweeper.detectors._stats import mean
from sweeper.detectors._view import n_steps
from sweeper.detectors.skill import (
    LATE,
    Skill,
    is_chance,
    learned,
    memorised,
    needed,
    skill_of,
    skills_of,
)
from sweeper.types import Finding, RunRecord, Symptom

NAMES = {"accuracy": "accuracy", "loss": "loss", "r2": "R squared"}
PLACES = {"eval": "the last evaluation", "fresh": "fresh samples", "train": "training batches"}


@dataclass(frozen=True, kw_only=True)
class ChanceLevelThresholds(Thresholds):
    skill: float = limit(0.05, 0.0, 0.5)
    """Share of the way from the constant answer to a perfect one (design)."""
    loss_skill: float = limit(0.02, 0.0, 0.5)
    """The same for the loss against the prior entropy (2 % band, design)."""
    constant: float = limit(0.95, 0.5, 1.0)
    """Largest predicted-class share of a constant predictor (design; told, not judged)."""
    steps: float = limit(10, 1, 10_000)
    """Steps below which nothing can have been learned."""


def detect(record: RunRecord, limits: ChanceLevelThresholds) -> Detected:
    if n_steps(record) < limits.steps:
        return Insufficient(f"{n_steps(record)} steps, {limits.steps:.0f} needed")
    primary = skill_of(record)
    if not primary.known:
        return Insufficient(
            "no accuracy, R squared or loss that could be compared with the constant answer"
        )
    if learned(record) is not False:
        return None
    measured = skills_of(record)
    enough = needed(record.facts) if primary.where != "eval" else 50
    if primary.n < enough:
        return Insufficient(f"{primary.n} samples, {enough} needed")
    if not all(_chance(skill, limits) for skill in measured) and not _lucky(measured, limits):
        return None
    majority = mean(record.series("majority")[int(LATE * n_steps(record)) :])
    constant = majority >= limits.constant and max(record.facts.class_prior, default=1.0) < 0.9
    reason = (
        f"{NAMES[primary.name]} {primary.metric:.4g} on {PLACES[primary.where]} (n = {primary.n})"
        " is"
        f" {max(primary.value, -9.99):+.1%} of the way from the constant answer to a perfect one"
        f" (limit {_limit(primary, limits):.0%})"
    )
    if constant:
        reason += f"; {majority:.0%} of the predictions of a batch name one class"
    recalled = primary.where == "fresh" and memorised(record)
    if recalled:
        reason += "; the training measure grows only by repeating the same samples"
    return Finding(
        symptom=Symptom.CHANCE_LEVEL,
        severity=0.9,
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


def _lucky(measured: tuple[Skill, ...], limits: ChanceLevelThresholds) -> bool:
    """Some accuracy beside a loss no better than guessing: an untrained model has that by luck."""
    return any(s.name == "loss" and _chance(s, limits) for s in measured)


def _limit(skill: Skill, limits: ChanceLevelThresholds) -> float:
    return limits.loss_skill if skill.name == "loss" else limits.skill


def _chance(skill: Skill, limits: ChanceLevelThresholds) -> bool:
    return is_chance(skill, _limit(skill, limits))


DETECTOR = Detector(
    symptom=Symptom.CHANCE_LEVEL,
    definition="accuracy within chance of the majority rate (exact binomial test at 1 % or skill"
    " under 5 %) and"
    " loss within 2 % of the prior entropy or above it; R squared under 5 % for regression",
    source="design; UMLAUT and AUTOTRAINER compare the accuracy with fixed numbers instead",
    thresholds=ChanceLevelThresholds(),
    detect=detect,
)
