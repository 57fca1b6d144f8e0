"""The whole run on one screen:
baseline -> diagnosis -> screening -> joint search -> proof -> ranking.
"""

from __future__ import annotations

from sweeper.conclusion import conclude
from sweeper.consent import require as require_consent
from sweeper.execution.jobs import unfinished
from sweeper.experience import add, earlier
from sweeper.options import Options
from sweeper.report.study_result import StudyResult
from sweeper.report.terminal import Progress
from sweeper.search.campaign import Campaign
from sweeper.search.screening import incurable, remedy_beliefs, screening_order
from sweeper.search.second_look import SecondLook
from sweeper.search.server import opened
from sweeper.search.space import load_space
from sweeper.search.stopping import Limits
from sweeper.search.study import JointStudy
from sweeper.searching import best_unproven, search, until_verified
from sweeper.study import open_folder
from sweeper.types import Fix
from sweeper.verification.fresh_seeds import Rule
from sweeper.verification.proof import Proof
from sweeper.workshop import workshop

CERTAIN = 0.9
"""Belief in an incurable cause from which no remedy is tried at all."""
CONTROL_SEEDS = (1, 2)
"""The unchanged program reseeded beside the search: is the failure a matter of luck?"""


def remediate(options: Options, progress: Progress) -> StudyResult:
    """Fix a failing program, or say with evidence that it is healthy or that no remedy cures it."""
    program, space, rule = options.program, load_space(options.space), Rule(seeds=options.seeds)
    open_folder(options.study, program, options.comparable)
    with workshop(options, progress) as shop, opened(options.storage, options.study) as storage:
        baseline = shop.baseline()
        facts, diagnosis = baseline.facts, baseline.diagnosis
        if not diagnosis.failing or incurable(diagnosis, CERTAIN):
            return shop.only_baseline(baseline)
        require_consent(program, baseline.trial.folder, options.allow_side_effects)

        bench, horizon = shop.bench(baseline)
        limits = Limits(
            trials=options.trials, seconds=options.budget, search_share=horizon.search_share
        )
        dimensions, not_applicable = space.applicable(facts)
        study = JointStudy(
            options.study / "journal.log", dimensions=dimensions, remedies=space.remedies,
            max_changes=space.max_changes, seed=options.seed, replay=options.deterministic,
            storage=storage,
            again=[j.fix for j in unfinished(options.study) if j.seed == 0 and j.fix.changes],
        )  # fmt: skip
        # A deterministic study must not depend on the studies before it.
        history = {} if options.deterministic else earlier(diagnosis, progress.message)
        campaign = Campaign(
            screening_order(facts, diagnosis, space, history), study, limits,
            started=shop.started, beliefs=remedy_beliefs(diagnosis),
            second_look=SecondLook(facts, diagnosis, space, dimensions).after,
            interrupted=lambda: shop.interrupt.reason,
        )  # fmt: skip
        campaign.tell(baseline.trial)
        proof = Proof(
            bench=bench, rule=rule, told=progress.trial_done,
            over=lambda n, ahead=0.0: (
                shop.interrupt.reason or limits.all_over(shop.seconds + ahead, n)
            ),
        )  # fmt: skip
        until_verified(bench, campaign, proof, progress)
        controls = search(
            bench, campaign, progress, CONTROL_SEEDS, over=lambda: limits.all_over(shop.seconds, 0)
        )

        progress.phase("proof")
        proof.best_skill = campaign.best_skill
        fixes = proof.prove(campaign.candidates, campaign.rejudged())
        none = not shop.interrupt.reason and not any(fix.verified for fix in fixes)
        if none and (best := best_unproven(campaign, fixes)):
            fixes = proof.verify_best(best)
        result = conclude(
            baseline, started=shop.started, options=options, notes=shop.runs.notes,
            campaign=campaign, proof=proof, controls=controls, fixes=fixes, study=study,
            not_applicable=not_applicable, horizon=horizon,
        )  # fmt: skip
        add(result, progress.message)
        return result


def check(options: Options, progress: Progress) -> StudyResult:
    """One run and its diagnosis."""
    open_folder(options.study, options.program, {})
    with workshop(options, progress) as shop:
        return shop.only_baseline(shop.baseline(), only_checked=True)


def confirm(options: Options, fix: Fix, progress: Progress) -> StudyResult:
    """One run and its diagnosis; if it fails, a known fix on fresh seeds, and no search.

    The verdict is ``fixed`` when the fix still restores training.
    """
    open_folder(options.study, options.program, options.comparable)
    with workshop(options, progress) as shop:
        baseline = shop.baseline()
        if not baseline.diagnosis.failing:
            return shop.only_baseline(baseline)
        require_consent(options.program, baseline.trial.folder, options.allow_side_effects)
        bench, horizon = shop.bench(baseline)
        progress.phase("proof")
        proof = Proof(
            bench=bench, rule=Rule(seeds=options.seeds), told=progress.trial_done,
            over=lambda n, ahead=0.0: "a known fix is held against one control",
        )  # fmt: skip
        fixes = proof.confirm(fix)
        return conclude(
            baseline, started=shop.started, options=options, notes=shop.runs.notes, proof=proof,
            fixes=fixes, horizon=horizon,
        )  # fmt: skip
