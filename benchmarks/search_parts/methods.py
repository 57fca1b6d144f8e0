"""One method at one failing program: what it pays until its first verified fix."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_parts.bench import Bill, PaidBench
from search_parts.cases import Case
from search_parts.peers import PEERS, peer
from sweeper.report.terminal import Silent
from sweeper.search.campaign import Campaign, is_restored
from sweeper.search.screening import remedy_beliefs, screening_order
from sweeper.search.second_look import SecondLook
from sweeper.search.space import load_space
from sweeper.search.stopping import Limits
from sweeper.search.study import JointStudy
from sweeper.searching import search, until_verified
from sweeper.types import Fix, FixValue
from sweeper.verification.fresh_seeds import Rule, Verification, held_against
from sweeper.verification.proof import Proof

OURS = "sweeper"
METHODS = (OURS, *PEERS)
WITHOUT = 2
"""Seeds of the proof on which a fix without one of its changes must restore, all of them, for that
change to be superfluous."""
MOST_ASKS = 1000
"""Of a peer that proposes what it has paid already."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of one study."""

    winner: Mapping[str, FixValue] | None
    """The changes of the first verified fix; None when there was none."""
    steps: int
    seconds: float
    """Of runs, as recorded when each was made, and of the driver."""
    runs: int
    superfluous: int
    """Changes of the winner that can be left out."""
    length: int
    """Steps of the baseline."""

    def data(self) -> dict[str, Any]:
        return {
            "winner": None if self.winner is None else dict(self.winner), "steps": self.steps,
            "seconds": self.seconds, "runs": self.runs, "superfluous": self.superfluous,
            "length": self.length,
        }  # fmt: skip


def study(method: str, case: Case, seed: int, budget: int) -> Found:
    """Search until one fix is verified or ``budget`` runs' worth of training steps is spent.

    Raises:
        OutOfTime: a run is missing and none may be made now.
    """
    bill = Bill(limit=budget * case.baseline.trial.outcome.steps)
    bench = case.bench(bill)
    bill.pay(case.baseline.trial, case.seconds)
    start, made = time.monotonic(), case.archive.spent
    proof = (_ours if method == OURS else _peer)(method, case, bench, seed)
    winners = [v.fix for v in proof.results() if v.verified]
    winner = winners[0] if winners else None
    driver = time.monotonic() - start - (case.archive.spent - made)
    return Found(
        winner=None if winner is None else winner.changes, steps=bill.steps,
        seconds=bill.seconds + driver, runs=bill.runs,
        superfluous=0 if winner is None else superfluous(winner, case),
        length=case.baseline.trial.outcome.steps,
    )  # fmt: skip


def until(case: Case, bench: PaidBench, seed: int, wanted: int) -> Proof:
    """Our study as the command makes it, until so many fixes are verified or the bill is over."""
    proof = _proof(bench, wanted)
    facts, diagnosis, space = case.baseline.facts, case.baseline.diagnosis, load_space()
    dimensions, _ = space.applicable(facts)
    with tempfile.TemporaryDirectory() as folder:
        joint = JointStudy(
            Path(folder) / "journal.log", dimensions=dimensions, remedies=space.remedies,
            max_changes=space.max_changes, seed=seed,
        )  # fmt: skip
        campaign = Campaign(
            screening_order(facts, diagnosis, space), joint, Limits(),
            beliefs=remedy_beliefs(diagnosis), interrupted=bench.bill.over,
            second_look=SecondLook(facts, diagnosis, space, dimensions).after,
        )  # fmt: skip
        campaign.tell(case.baseline.trial)
        until_verified(bench, campaign, proof, Silent())
        if wanted > 1:
            search(bench, campaign, Silent())
            proof.best_skill = campaign.best_skill
            proof.prove(campaign.candidates, campaign.rejudged())
    return proof


def _proof(bench: PaidBench, wanted: int) -> Proof:
    def over(verified: int, ahead: float = 0.0) -> str:
        return bench.bill.over() or ("enough are verified" if verified >= wanted else "")

    return Proof(bench=bench, rule=Rule(), over=over)


def _ours(method: str, case: Case, bench: PaidBench, seed: int) -> Proof:
    return until(case, bench, seed, wanted=1)


def _peer(method: str, case: Case, bench: PaidBench, seed: int) -> Proof:
    proof = _proof(bench, wanted=1)
    chooses = peer(method, case, load_space(), seed)
    best: float | None = None
    proven: set[str] = set()
    for _ in range(MOST_ASKS):
        if bench.bill.over() or (fix := chooses.ask()) is None:
            break
        trial, seconds = case.archive.trial(bench.job(fix), "joint")
        share = chooses.watch(trial)
        bench.bill.pay(trial, seconds, share)
        chooses.tell(trial, share)
        if share < 1.0 or trial.judgement is None:
            continue
        trial = held_against(trial, best)
        skill = trial.judgement.skill if trial.judgement is not None else math.nan
        if not trial.not_applied and math.isfinite(skill):
            best = max(skill, -1.0 if best is None else best)
        if is_restored(trial) and fix.hash not in proven:
            proven.add(fix.hash)
            proof.verify(fix)
            if proof.n_verified():
                break
    return proof


def superfluous(fix: Fix, case: Case) -> int:
    """Changes that can go, one after the other, while what is left still restores as the judge sees
    it: on the first seeds of the proof, and held against the skill of the whole fix there."""
    bench, rule = case.bench(Bill(limit=0)), Rule(seeds=WITHOUT)
    best = proof_of(fix, bench, rule).result().skill
    left = dict(fix.changes)
    for name in sorted(fix.changes):
        less = Fix(changes={k: v for k, v in left.items() if k != name})
        if less.changes and proof_of(less, bench, rule, best).verified:
            del left[name]
    return len(fix.changes) - len(left)


def proof_of(
    fix: Fix, bench: PaidBench, rule: Rule, best_skill: float | None = None
) -> Verification:
    """The fix on the seeds of the rule, as many as decide."""
    proof = Verification(fix, rule, {})
    for seed in proof.rule.fresh:
        if not proof.lost:
            trial, _ = bench.archive.trial(bench.job(fix, seed, full=True), "verification")
            proof.tell(held_against(trial, best_skill))
    return proof
