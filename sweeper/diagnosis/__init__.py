"""Why it is wrong: one file per cause, found by walking this package."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from sweeper.detectors import Number, detect_all
from sweeper.detectors._documented import constants_of
from sweeper.detectors._measure import from_replay
from sweeper.detectors.chance_level import PLACES
from sweeper.detectors.skill import (
    FEWEST_EVALUATED,
    LATE,
    UNEQUAL,
    adversarial,
    held_out_skill,
)
from sweeper.diagnosis._base import CauseRule, Evidence
from sweeper.diagnosis._calibration import calibrated
from sweeper.types import Cause, Diagnosis, Finding, Hypothesis, RunRecord, Symptom

if TYPE_CHECKING:
    from sweeper.telemetry.record import Captured

LEAST_BELIEF = 0.08
"""Hypotheses under this are not told."""
UNEQUAL_SHARE = 0.6
"""Share of the commonest class from which recall is compared instead of accuracy (design)."""
HALF_WAY = 0.5
"""Skill from which nobody asks what simple models can do."""
OUTDONE = 0.25
"""Skill by which simple models must be ahead, which is then also twice the run's (design)."""
FAR_AHEAD = 0.35
"""Lead that suffices without being twice the run's skill (design)."""
OUTDONE_LANGUAGE = 0.1
"""The same for language models, whose skill is smaller (counts of character pairs reach 0.25)."""
EVIDENT = 0.85
"""Belief in an evident fault from which a run of half the skill is failing (design)."""
UNMEASURED = (Cause.WRONG_LOSS,)
"""Faults that need no measured skill."""
CERTAIN = 0.9
"""Belief from which the costly probes are not asked any more."""
ROOT = 0.5
"""Belief from which a cause takes belief away from what it explains."""


@cache
def all_causes() -> dict[str, CauseRule]:
    """Every cause rule of the package by name, sorted."""
    found: dict[str, CauseRule] = {}
    for module in pkgutil.iter_modules(__path__):
        unit = getattr(importlib.import_module(f"{__name__}.{module.name}"), "CAUSE", None)
        if isinstance(unit, CauseRule):
            found[unit.cause.value] = unit
    return dict(sorted(found.items()))


def constants_of_cause(name: str) -> tuple[Number, ...]:
    """The documented numbers at the top of a cause's module."""
    return constants_of(importlib.import_module(f"{__name__}.{name}"))


def diagnose(
    record: RunRecord, captured: Captured | None = None, *, treated: Collection[str] = ()
) -> Diagnosis:
    """Findings of a run and the causes that explain them, most believed first; no causes for a
    healthy run.

    ``treated`` are remedies that the run was made under: what they treat is not asked for, as the
    record's facts still show it.
    """
    findings, insufficient = detect_all(record)
    evidence = Evidence(record, findings, captured)
    if not any(f.critical for f in findings):
        outdone = outdone_by_simple_models(evidence) or half_hearted(evidence)
        if outdone is None:
            return Diagnosis(findings=findings, hypotheses=(), insufficient=insufficient)
        findings = (outdone, *findings)
        evidence = Evidence(record, findings, captured)
    rules = [r for r in all_causes().values() if not set(r.remedies) & set(treated)]
    found = [h for rule in rules if not rule.probe and (h := rule.ask(evidence))]
    if max((h.belief for h in found), default=0.0) < CERTAIN:
        found += [h for rule in rules if rule.probe and (h := rule.ask(evidence))]
    told = tuple(replace(h, belief=round(calibrated(h.belief), 3)) for h in order(found))
    return Diagnosis(findings=findings, hypotheses=told, insufficient=insufficient)


def outdone_by_simple_models(e: Evidence) -> Finding | None:
    """A run with some skill is still failing when a linear model or small trees do far better on a
    part of its data.

    Asked only without a critical finding, for a skill under HALF_WAY; needs captured batches. The
    same batches, replayed, show how the run does on just these samples. Of unequal classes the mean
    recall is compared.
    """
    run = e.skill
    if e.captured is None or not run.known or run.value >= HALF_WAY or adversarial(e.facts):
        return None
    if (
        run.name == "balanced_accuracy" or run.prior >= UNEQUAL_SHARE
    ):  # of unequal classes accuracy says too little
        return _outdone_in_recall(e)
    again = next((s for s in from_replay(e.record) if s.name == run.name), None)
    if run.where == "train" and any(p > 0 for p in e.facts.dropout):
        if again is None:
            return None  # dropout disturbs the run's answers, not those of the simple models
        run = again
    elif again is not None and again.value < run.value:
        run = again
    probe = e.probe
    ahead = OUTDONE if run.name != "loss" else OUTDONE_LANGUAGE
    if probe is None or probe.partial or not probe.signal:
        return None
    where = f"on {PLACES.get(run.where, 'training samples')}"
    return _far_behind(e, run.value, probe.score, probe.n, ahead, where)


def _outdone_in_recall(e: Evidence) -> Finding | None:
    value, where = _by_recall(e)
    if not value < HALF_WAY:
        return None
    probe = e.probe
    if probe is None or not probe.signal or not math.isfinite(probe.balanced):
        return None
    return _far_behind(e, value, probe.balanced, probe.n, OUTDONE, where)


def _far_behind(
    e: Evidence, value: float, simple: float, n: int, ahead: float, where: str
) -> Finding | None:
    """The run's skill is under the simple models' by ``ahead``, and under half of theirs or by
    FAR_AHEAD."""
    if simple - value < ahead or (value >= 0.5 * simple and simple - value < FAR_AHEAD):
        return None
    return Finding(
        symptom=Symptom.CHANCE_LEVEL,
        severity=0.6,
        reason=f"skill {value:.2f} {where} is nearer to chance than to the {simple:.2f} that simple"
        f" models reach on {n} captured samples",
        steps=(int(LATE * e.n_steps), e.n_steps - 1),
        evidence={"value": value, "threshold": 0.5 * simple, "simple_models": simple},
    )


def half_hearted(e: Evidence) -> Finding | None:
    """A run of less than half the possible skill is failing when a fault of the code or of the
    settings is evident: without it, it would do better.

    Token models hardly ever reach half of what is possible: there the fault alone decides. Where no
    skill was measured, only a loss that cannot work does.
    """
    value, where = _plain_skill(e)
    if value >= HALF_WAY or adversarial(e.facts):
        return None
    measured = math.isfinite(value)
    rules = [r for r in all_causes().values() if r.evident and (measured or r.cause in UNMEASURED)]
    found = [h for r in rules if (h := r.ask(e))]
    fault = max(found, key=lambda h: h.belief, default=None)
    if fault is None or fault.belief < EVIDENT:
        return None
    skill = f"skill {value:.2f} {where} is under {HALF_WAY:g}" if measured else "no skill was seen"
    return Finding(
        symptom=Symptom.CHANCE_LEVEL,
        severity=0.55,
        reason=f"{skill}, and {fault.reason}",
        steps=(int(LATE * e.n_steps), e.n_steps - 1),
        evidence={
            "value": value if measured else None, "threshold": HALF_WAY,
            "fault": fault.cause.value,
        },
    )  # fmt: skip


def _plain_skill(e: Evidence) -> tuple[float, str]:
    """(skill, where it was measured), NaN where the run shows none that could be compared.

    Held-out samples before the replayed batches, and those before training batches that no dropout
    disturbs.
    """
    if not max(e.facts.class_prior, default=0.0) < UNEQUAL:
        return _by_recall(e)
    told = (e.skill, held_out_skill(e.record))
    held_out = [s for s in told if s.where in ("eval", "fresh") and s.n >= FEWEST_EVALUATED]
    replayed = [s for s in from_replay(e.record) if s.name in ("r2", e.skill.name)]
    trained = [e.skill] if e.skill.where == "train" and not any(e.facts.dropout) else []
    run = next((s for s in (*held_out, *replayed, *trained) if s.known), None)
    if run is None:
        return math.nan, ""
    return run.value, f"on {PLACES[run.where]}"


def _by_recall(e: Evidence) -> tuple[float, str]:
    replay = e.record.replay
    if replay is None or len(replay.recall) < 2:
        return math.nan, ""
    chance = 1 / len(replay.recall)
    balanced = (sum(replay.recall) / len(replay.recall) - chance) / (1 - chance)
    return balanced, "by the mean recall of the classes on the first training batches"


def order(found: list[Hypothesis]) -> tuple[Hypothesis, ...]:
    """Most believed first, after each believed cause has taken its share from those it explains.

    A dependant keeps the share ``1 - belief`` of its own belief (explaining away), at least a
    fifth.
    """
    rules = all_causes()
    roots = {h.cause: h for h in found if h.belief >= ROOT}
    told = []
    for dependant in found:
        left = dependant.belief
        for root in roots.values():
            mutual = root.cause in rules[dependant.cause].explains
            if dependant.cause in rules[root.cause].explains and not (
                mutual and root.belief <= dependant.belief
            ):
                left *= max(0.2, 1 - root.belief)
        told.append(replace(dependant, belief=round(left, 3)))
    told.sort(key=lambda h: (-h.belief, h.cause.value))
    return tuple(h for h in told if h.belief >= LEAST_BELIEF)
