"""From all that a study found to one verdict with its reason."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from sweeper.baseline import Baseline
from sweeper.consent import remarks as side_effects
from sweeper.report.study_result import Alone, RemedyRow, StudyResult
from sweeper.report.tables import LOWER_IS_BETTER, rank
from sweeper.types import CODE_FAULTS, Hypothesis, Scalar, Trial, Verdict, VerifiedFix
from sweeper.verification.fresh_seeds import flaky, held_against

if TYPE_CHECKING:
    from sweeper.options import Options
    from sweeper.search.campaign import Campaign
    from sweeper.search.horizon import Horizon
    from sweeper.search.study import JointStudy
    from sweeper.verification.proof import Proof

BELIEVED = 0.5
"""Belief in an incurable cause from which, with nothing verified, it is the verdict."""


def conclude(
    baseline: Baseline,
    *,
    started: float,
    options: Options,
    notes: Sequence[str] = (),
    campaign: Campaign | None = None,
    proof: Proof | None = None,
    controls: Sequence[Trial] = (),
    fixes: Sequence[VerifiedFix] = (),
    study: JointStudy | None = None,
    not_applicable: Mapping[str, str] | None = None,
    horizon: Horizon | None = None,
    only_checked: bool = False,
) -> StudyResult:
    """Put the parts of a study together."""
    faults = code_faults(baseline.diagnosis.hypotheses)
    ranked = tuple(rank(replace(f, repairs=repaired(f, faults)) for f in fixes))
    searched = campaign.rejudged() if campaign else [baseline.trial]
    proving = proof.trials if proof else []
    trials = (*searched, *controls, *proving)
    verdict, reason = _verdict(baseline, ranked, campaign)
    if (
        only_checked
        and verdict == "not_fixable"
        and _incurable(baseline.diagnosis.hypotheses) is None
    ):
        verdict, reason = (
            "failing",
            "; ".join(f.symptom for f in baseline.diagnosis.findings if f.critical),
        )
    remarks = [*notes, *side_effects(trials)]
    share = flaky(_held_controls(controls, campaign, proof, ranked))
    if share > 0:
        remarks.append(
            f"the unchanged program trains well on {share:.0%} of other seeds: "
            f"its failure is partly luck"
        )
    if horizon is not None:
        remarks.append(f"horizon: {horizon.reason}")
    behind = sum(t.outcome.status == "behind" for t in searched)
    if behind:
        remarks.append(
            f"{behind} of {len(searched) - 1} searching runs were stopped on their way, behind most"
            " of those before them"
        )
    blind = [t for t in trials if t.outcome.watch_errors]
    if blind:
        remarks.append(
            f"watching failed in {len(blind)} of {len(trials)} runs, signals may be missing: "
            f"{blind[0].outcome.watch_errors[0].strip().splitlines()[-1]} "
            f"({blind[0].folder / 'outcome.json'})"
        )
    if campaign is not None and campaign.stop_reason:
        remarks.append(f"search ended: {campaign.stop_reason}")
    for remedy, fault in faults.items():
        masks = [f.fix.label for f in ranked if f.verified and remedy not in f.fix.changes]
        if masks:
            remarks.append(
                f"{'; '.join(masks)}: restores training but leaves {fault} in the code, which "
                f"{remedy} repairs"
            )
    return StudyResult(
        verdict=verdict,
        verdict_reason=reason,
        program=options.program,
        facts=baseline.facts,
        diagnosis=baseline.diagnosis,
        fixes=ranked,
        trials=trials,
        remedies=remedy_rows(searched, ranked),
        not_applicable=dict(not_applicable or {}),
        importance=study.importance() if study else {},
        cost={
            "runs": len(trials),
            "training_steps": sum(t.outcome.steps for t in trials),
            "wall_seconds": round(time.monotonic() - started, 1),
        },
        seeds=tuple(proof.rule.fresh) if proof else (),
        versions=dict(baseline.trial.outcome.versions),
        containment=baseline.trial.outcome.containment,
        settings=_settings(options),
        source=options.program.path.read_bytes().decode("utf-8", "surrogateescape"),
        notes=tuple(remarks),
    )


def _settings(options: Options) -> dict[str, Scalar]:
    """What the command line said, where it is not the default."""
    asked = {
        f.name: getattr(options, f.name)
        for f in fields(options)
        if f.name not in ("program", "study", "warm") and getattr(options, f.name) != f.default
    }
    if options.budget is None:
        asked["budget"] = "none"
    if options.storage:  # reports are passed on
        from sweeper.search.server import masked

        asked["storage"] = masked(options.storage)
    return asked | ({} if options.warm else {"no_warm_start": True})


def _verdict(
    baseline: Baseline, fixes: Sequence[VerifiedFix], campaign: Campaign | None
) -> tuple[Verdict, str]:
    diagnosis = baseline.diagnosis
    if not diagnosis.failing:
        return "healthy", "no critical finding in the whole run"
    best = fixes[0] if fixes else None
    if best is not None and best.verified:
        return "fixed", (
            f"{best.fix.label} restores training on {best.restored} of {best.seeds} fresh seeds: "
            f"{best.metric_name} {best.baseline_metric:.3g} -> {best.metric.value:.3g}"
        )
    fatal = _incurable(diagnosis.hypotheses)
    if fatal is not None:
        return "not_fixable", f"{fatal.cause}: {fatal.reason}"
    better = [f for f in fixes if f.seeds > 1 and _improves(f)]
    if better:
        return "improved", (
            f"{better[0].fix.label} improves {better[0].metric_name} "
            f"from {better[0].baseline_metric:.3g} to {better[0].metric.value:.3g}, "
            f"but restores only {better[0].restored} of {better[0].seeds} seeds"
        )
    tried = len(campaign.trials) - 1 if campaign else 0
    stopped = campaign.stop_reason if campaign is not None else ""
    if campaign is not None and ("budget" in stopped or "interrupted" in stopped):
        return "inconclusive", f"{campaign.stop_reason}; {tried} fixes tried, none verified"
    return (
        "not_fixable",
        f"{tried} fixes over every applicable remedy tried, none restores training",
    )


def code_faults(hypotheses: Sequence[Hypothesis]) -> dict[str, str]:
    """Remedy that repairs it -> believed fault of the code."""
    return {
        h.remedies[0]: h.cause.value
        for h in hypotheses
        if h.cause in CODE_FAULTS and h.belief >= BELIEVED and h.remedies
    }


def repaired(fix: VerifiedFix, faults: Mapping[str, str]) -> str:
    return next((faults[name] for name in sorted(fix.fix.changes) if name in faults), "")


def _improves(fix: VerifiedFix) -> bool:
    """The whole interval of the paired difference to the control lies on the better side."""
    difference = fix.paired_difference
    return difference.high < 0 if fix.metric_name in LOWER_IS_BETTER else difference.low > 0


def _incurable(hypotheses: Sequence[Hypothesis]) -> Hypothesis | None:
    found = [h for h in hypotheses if not h.curable and h.belief >= BELIEVED]
    return max(found, key=lambda h: h.belief, default=None)


def _held_controls(
    controls: Sequence[Trial],
    campaign: Campaign | None,
    proof: Proof | None,
    fixes: Sequence[VerifiedFix],
) -> list[Trial]:
    """The unchanged program at other seeds, each run held against the best of its own length: where
    it learns too slowly, learning a little is the failure itself and no luck."""
    proven = max((f.skill for f in fixes if f.skill == f.skill), default=None)
    searched = campaign.best_skill if campaign else None
    return [
        *(held_against(trial, searched) for trial in controls),
        *(held_against(trial, proven) for trial in (proof.controls.values() if proof else ())),
    ]


def remedy_rows(trials: Sequence[Trial], fixes: Sequence[VerifiedFix]) -> tuple[RemedyRow, ...]:
    """What each remedy of the searching trials did alone, and which of the ranked fixes need it."""
    alone: dict[str, list[Trial]] = {}
    for trial in trials:
        if len(trial.fix.changes) == 1:
            alone.setdefault(next(iter(trial.fix.changes)), []).append(trial)
    named = {n for t in trials for n in t.fix.changes}
    rows = []
    for name in sorted(named):
        own = alone.get(name, [])
        judged = [t for t in own if t.judgement is not None and not t.not_applied]
        best = max(judged, key=lambda t: t.judgement.score if t.judgement else -3.0, default=None)
        if best is not None and best.judgement is not None:
            word: Alone = "restored" if best.judgement.restored else "not restored"
            why = (
                f"best alone: {best.fix.label}, "
                f"{best.judgement.metric_name} {best.judgement.metric:.3g}"
            )
        elif own:
            word = "not applied"
            why = (
                "; ".join(sorted({r for t in own for r in t.not_applied.values()}))
                or own[0].outcome.error
            )
        else:
            word, why = "not tried", "tried in combinations only"
        needed = tuple(i + 1 for i, f in enumerate(fixes) if f.verified and f.necessary.get(name))
        rows.append(RemedyRow(remedy=name, alone=word, necessary_in=needed, reason=why))
    return tuple(rows)
