"""Whether a run is restored, and its score (design section 7).

Restored is three things together, on a metric that no detector computes from its own alarm:

1. finite and quiet: no critical finding holds in the last third of the run;
2. gradients healthy: the depth profile and the update-to-weight ratio are inside the healthy band;
3. learning: skill over the constant answer is significant and a stated share of the study's best;
   where nothing tells a skill, the program's own loss falls (`sweeper.search.own_loss`).

The score is always finite: the skill in [-1, 1] for a run that stayed finite and was measured,
below -1 for one that did not, larger the longer it survived. Violations are graded, so that a
sampler sees which of two ill runs is less ill: 0 and below is satisfied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.detectors.skill import ALPHA, CLEARLY, Skill, skill_of
from sweeper.search.own_loss import FALLEN, fall_of
from sweeper.types import Diagnosis, Finding, Judgement, RunRecord, Symptom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LATE = 2 / 3
"""The last third of a run begins here."""
LEAST_SKILL = 0.05
"""Skill below this is chance however significant (detectors.md 5.6)."""
SHARE_OF_BEST = 0.85
"""Share of the study's best skill from which a run is as good as restored."""
PROFILE_DECADES = 3.0
"""Decades between the first and the last layer's gradient, from which the profile is ill
(detectors.md 5.2)."""
STARVED_RATIO = 1e-7
"""Update-to-weight ratio under which a layer stands still (detectors.md 5.3)."""
HOT_RATIO = 1e-1
"""Update-to-weight ratio above which weights are replaced, not trained (detectors.md 5.3)."""
ENDED_WELL = ("finished", "budget", "behind")
"""Outcomes of runs that could have gone on."""
NO_MEASURE = -1.0
"""Score of a run that stayed finite and gave no measure of learning."""

GRADIENT_SYMPTOMS = frozenset(
    {Symptom.VANISHING_GRADIENT, Symptom.EXPLODING_GRADIENT, Symptom.STARVED_UPDATES}
)


@dataclass(frozen=True, kw_only=True)
class GradientHealth:
    """Depth profile and update-to-weight ratio over the last third, medians; NaN where unknown."""

    decades: float
    """log10 of the per-element gradient, last layer over first; negative when it grows toward the
    input."""
    slowest: float
    """Update-to-weight ratio of the slowest trained layer."""
    typical: float
    """Median of the ratio over layers."""


def judge(record: RunRecord, diagnosis: Diagnosis, best_skill: float | None = None) -> Judgement:
    """Judge one run; ``best_skill`` is the best of the study so far (None: nothing to compare
    with)."""
    n_steps = len(record.series("loss"))
    survived = survived_share(record)
    finite = survived >= 1.0 and record.outcome.status in ENDED_WELL
    late = [f for f in diagnosis.findings if f.critical and f.steps[1] >= LATE * n_steps]
    health = gradient_health(record)
    skill, least = skill_of(record), LEAST_SKILL
    if skill.name == "balanced_accuracy":
        least = CLEARLY  # weights drawn at random tell two classes apart a little
    elif not skill.known:
        skill, least = fall_of(record), FALLEN
    violations = {
        "finite": -1.0 if finite else 2.0 - survived,
        "quiet": _quiet([f for f in late if f.symptom not in GRADIENT_SYMPTOMS]),
        "gradients": _gradients(health, [f for f in late if f.symptom in GRADIENT_SYMPTOMS]),
        "learning": _learning(skill, least),
    }
    reasons = [f"{f.symptom}: {f.reason}" for f in late]
    if not finite:
        reasons.insert(0, _not_finite(record, survived))
    if record.outcome.status == "behind":
        reasons.insert(0, f"stopped at step {n_steps}: behind most runs that came so far")
    if violations["gradients"] > 0 and not any(f.symptom in GRADIENT_SYMPTOMS for f in late):
        reasons.append(_unhealthy(health))
    if violations["learning"] > 0:
        reasons.append(_not_learning(skill, least))
    judgement = Judgement(
        restored=not reasons,
        score=_score(skill, finite, survived),
        skill=skill.value if finite else math.nan,
        metric_name=skill.name or "none",
        metric=skill.metric,
        reasons=tuple(reasons),
        violations=violations,
    )
    return against_best(judgement, best_skill)


def against_best(judgement: Judgement, best_skill: float | None) -> Judgement:
    """The judgement with its skill held against the study's best; the rest stays as judged.

    Call it again whenever the best has grown: what looked restored early may be far from what is
    possible.
    """
    reasons = tuple(r for r in judgement.reasons if not r.startswith(_BEHIND))
    if best_skill is not None and not reasons and judgement.skill < SHARE_OF_BEST * best_skill:
        limit = f"{SHARE_OF_BEST:g} of the study's {best_skill:.3f}"
        reasons = (f"{_BEHIND} {judgement.skill:.3f}, under {limit}",)
    return replace(judgement, restored=not reasons, reasons=reasons)


_BEHIND = "skill behind the best:"


def survived_share(record: RunRecord) -> float:
    """Share of the planned steps until loss or gradient stayed non-finite; 1 for a run that kept
    finite.

    A single skipped step (a gradient scaler backing off) does not end a run; its last finite loss
    does.
    """
    loss = record.series("loss")
    if not len(loss):
        return 0.0
    planned = max(record.max_steps or 0, record.facts.steps, len(loss))
    known = np.flatnonzero(np.isfinite(loss))
    if not len(known):
        return 0.0
    last = int(known[-1]) + 1
    # Losses are read in blocks, so the very last ones may be missing from a run that ended
    # normally.
    tail = max(1, len(loss) // 100)
    if record.outcome.status in ENDED_WELL and last >= len(loss) - tail + 1:
        return 1.0
    return min(last / planned, 0.999)


def gradient_health(record: RunRecord) -> GradientHealth:
    """Depth profile and ratios of the last third; layers that never had a gradient are left out."""
    layers = record.layers
    unknown = GradientHealth(decades=math.nan, slowest=math.nan, typical=math.nan)
    if layers is None or not len(layers.step) or not layers.names:
        return unknown
    rows = layers.step >= LATE * layers.step[-1]
    grads, ratios = layers.grad_norm[rows], layers.update_ratio[rows]
    trained = np.isfinite(grads).any(axis=0)
    if not trained.any():
        return unknown
    per_element = _median(grads[:, trained]) / np.sqrt(np.asarray(layers.sizes, float)[trained])
    ratio = _median(ratios[:, trained])
    ratio = ratio[np.isfinite(ratio)]
    return GradientHealth(
        decades=_decades(per_element),
        slowest=float(ratio.min()) if len(ratio) else math.nan,
        typical=float(np.median(ratio)) if len(ratio) else math.nan,
    )


def _median(values: Floats) -> Floats:
    """Median over samples, [L]; NaN for a layer without any."""
    out = np.full(values.shape[1], np.nan)
    for i in range(values.shape[1]):
        column = values[np.isfinite(values[:, i]), i]
        if len(column):
            out[i] = float(np.median(column))
    return out


def _decades(per_element: Floats) -> float:
    """Slope of log10 over relative depth, by least squares; needs three layers with a gradient."""
    known = np.isfinite(per_element) & (per_element > 0)
    if known.sum() < 3:
        return math.nan
    depth = np.linspace(0.0, 1.0, len(per_element))[known]
    return float(np.polyfit(depth, np.log10(per_element[known]), 1)[0])


def _quiet(findings: list[Finding]) -> float:
    return max((f.severity for f in findings), default=-0.5)


def _gradients(health: GradientHealth, findings: list[Finding]) -> float:
    """Decades outside the band, at most 9; at least the severity of a critical gradient finding."""
    excess = [f.severity for f in findings]
    if abs(health.decades) >= PROFILE_DECADES and health.slowest < STARVED_RATIO:
        excess.append(min(abs(health.decades) - PROFILE_DECADES + 0.1, 9.0))
    if health.typical > HOT_RATIO:
        excess.append(min(math.log10(health.typical / HOT_RATIO) + 0.1, 9.0))
    return max(excess, default=-0.5)


def _learning(skill: Skill, least: float) -> float:
    if not skill.known:
        return 1.5
    if skill.significant and skill.value >= least:
        return -min(skill.value, 1.0)
    # Above zero also for a good-looking skill on too few samples.
    return max(least - max(skill.value, -1.0), 0.01)


def _score(skill: Skill, finite: bool, survived: float) -> float:
    if not finite:
        return NO_MEASURE - 1.0 + 0.9 * min(max(survived, 0.0), 1.0)
    return min(max(skill.value, -1.0), 1.0) if skill.known else NO_MEASURE


def _not_finite(record: RunRecord, survived: float) -> str:
    status = record.outcome.status
    if status in ("finished", "budget", "hopeless"):
        return f"not finite: lost its loss or its gradients after {100 * survived:.0f} % of the run"
    return f"not finished: {status} after {100 * survived:.0f} % of the run"


def _unhealthy(health: GradientHealth) -> str:
    if health.typical > HOT_RATIO:
        return f"updates too large: ratio to the weights {health.typical:.2g} > {HOT_RATIO:g}"
    return (
        f"gradients ill: {health.decades:+.1f} decades over depth, slowest layer's update ratio "
        f"{health.slowest:.1g} < {STARVED_RATIO:g}"
    )


def _not_learning(skill: Skill, least: float) -> str:
    if not skill.known:
        return "no skill measured: no labelled samples and no evaluation seen"
    if least == FALLEN and skill.value < least:
        return (
            f"not learning: the program's own loss {skill.metric:.3g} is {skill.value:.1%} below"
            f" its level before training, {least:.0%} needed"
        )
    if skill.value < least:
        return f"not learning: skill {skill.value:.3f} < {least:g} ({skill.name}, {skill.where})"
    return (
        f"not learning for sure: skill {skill.value:.3f} on {skill.n} samples has p = "
        f"{skill.p_value:.2g} > {ALPHA:g}"
    )
