"""The search of a study: what is run next, and which fix is left when none restored training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweeper.execution.trials import Bench, Phase
from sweeper.report.terminal import Progress
from sweeper.search.campaign import Campaign
from sweeper.types import Fix, Trial, VerifiedFix
from sweeper.verification.proof import Proof


def search(
    bench: Bench,
    campaign: Campaign,
    progress: Progress,
    control_seeds: Sequence[int] = (),
    until: Callable[[], bool] = lambda: False,
    over: Callable[[], str] = lambda: "",
) -> list[Trial]:
    """Screening and joint search on all slots until ``until`` holds, then, unless the whole command
    is ``over``, the unchanged program on ``control_seeds``, whose trials are returned.
    """
    waiting, controls = list(control_seeds), []

    def wanted() -> tuple[Phase, Fix, int, bool] | None:
        if until():
            return None
        item = campaign.next_fix()
        if item is None and waiting and not campaign.interrupted() and not over():
            return "control", Fix(), waiting.pop(0), False
        if item is None:
            return None
        phase, fix = item
        progress.phase(phase)
        progress.trial_started(fix.label)
        return phase, fix, 0, False

    def told(trial: Trial) -> None:
        progress.trial_done(trial)
        if trial.phase == "control":
            controls.append(trial)
        else:
            campaign.tell(trial)

    bench.run_all(wanted, told)
    return controls


def until_verified(bench: Bench, campaign: Campaign, proof: Proof, progress: Progress) -> None:
    """Search, and put what restores to its proof at once, until one fix is verified.

    Where the diagnosis is right that takes a handful of runs, and what follows looks for better
    ones.
    """
    while not proof.n_verified():
        search(bench, campaign, progress, until=lambda: proof.has_new(campaign.candidates))
        if not proof.has_new(campaign.candidates):
            return
        progress.phase("proof")
        with campaign.paused():
            proof.prove_next(campaign.candidates, campaign.rejudged(), campaign.best_skill)
            campaign.disproven(proof.disproven)


def best_unproven(campaign: Campaign, fixes: Sequence[VerifiedFix]) -> Fix | None:
    """The highest-scoring change not put to the proof yet that beats the baseline, or None."""
    tried = {f.fix.hash for f in fixes}
    judged = [t for t in campaign.trials if t.judgement is not None and not t.not_applied]
    floor = max(
        (t.judgement.score for t in judged if not t.fix.changes and t.judgement), default=-3.0
    )
    better = [
        t for t in judged
        if t.fix.changes and t.fix.hash not in tried
        and t.judgement and t.judgement.score > floor + 0.05
    ]  # fmt: skip
    best = max(
        better, key=lambda t: (t.judgement.score if t.judgement else -3.0, t.fix.hash), default=None
    )
    return best.fix if best else None
