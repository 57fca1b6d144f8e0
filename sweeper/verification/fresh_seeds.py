"""Fresh seeds beside controls: a fix is verified when it restores on 4 of 5 seeds that no search
has seen.

Controls are the unchanged program at the same seeds and the same horizon; their runs are shared by
every candidate. Sequential: as soon as the number of failures makes the outcome certain, no more
seeds of that fix are run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sweeper.search.campaign import is_restored
from sweeper.search.judge import against_best
from sweeper.types import Fix, Trial, UsageError, VerifiedFix
from sweeper.verification.intervals import bootstrap_median, paired_difference, wilson

FIRST_SEED = 1001
"""Screening and joint search run at seed 0, so these were never looked at."""
SEEDS = 5
NEEDED_SHARE = 0.8
"""4 of 5 (design section 7)."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How many fresh seeds, and on how many a fix must restore."""

    seeds: int = SEEDS

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= 100:
            raise UsageError(f"--seeds is from 1 to 100, got {self.seeds}")

    @property
    def needed(self) -> int:
        """The smallest count that is at least 4 of 5."""
        return math.ceil(NEEDED_SHARE * self.seeds - 1e-9)

    @property
    def fresh(self) -> tuple[int, ...]:
        """The seeds, in the order in which they are run."""
        return tuple(range(FIRST_SEED, FIRST_SEED + self.seeds))


class Verification:
    """One candidate's proof: ``wanted`` names the runs to make next, ``tell`` takes results."""

    def __init__(self, fix: Fix, rule: Rule, controls: Mapping[int, Trial]) -> None:
        """``controls`` is seed -> trial of the unchanged program, shared by all candidates and
        filled as they end."""
        self.fix = fix
        self.rule = rule
        self.controls = controls
        self.trials: dict[int, Trial] = {}

    @property
    def restored(self) -> int:
        """Seeds restored so far."""
        return sum(is_restored(t) for t in self.trials.values())

    @property
    def lost(self) -> bool:
        """True when too many seeds failed for the fix ever to be verified."""
        return len(self.trials) - self.restored > self.rule.seeds - self.rule.needed

    @property
    def done(self) -> bool:
        """True when the outcome is certain and, for a verified fix, every seed was run."""
        return self.lost or len(self.trials) == self.rule.seeds

    @property
    def verified(self) -> bool:
        """Restored on enough of the seeds, whatever those not run would say."""
        return self.restored >= self.rule.needed

    def wanted(self) -> list[tuple[Fix, int]]:
        """(fix, seed) to run next: the candidate's seeds first, then the controls of the seeds it
        has run."""
        if self.done and not self.verified:
            return []
        own = [(self.fix, seed) for seed in self.rule.fresh if seed not in self.trials]
        return own or [(Fix(), seed) for seed in self.rule.fresh if seed not in self.controls]

    def tell(self, trial: Trial) -> None:
        """Take in a run of the candidate."""
        if trial.fix.hash == self.fix.hash and trial.seed in self.rule.fresh:
            self.trials[trial.seed] = trial

    def result(self, necessary: Mapping[str, bool] | None = None) -> VerifiedFix:
        """The evidence as it stands; seeds not run are not counted."""
        ran = [self.trials[seed] for seed in self.rule.fresh if seed in self.trials]
        paired = [t for t in ran if t.seed in self.controls]
        metrics = [_metric(t) for t in ran]
        names = [t.judgement.metric_name for t in ran if t.judgement is not None]
        skills = [t.judgement.skill for t in ran if t.judgement is not None]
        control = [_metric(self.controls[t.seed]) for t in paired]
        return VerifiedFix(
            fix=self.fix,
            verified=self.verified,
            restored=self.restored,
            seeds=len(ran),
            wilson=wilson(self.restored, len(ran)),
            metric_name=_most_common(names),
            metric=bootstrap_median(metrics),
            baseline_metric=bootstrap_median(control).value,
            paired_difference=paired_difference([_metric(t) for t in paired], control),
            skill=bootstrap_median(skills).value,
            steps=max((t.outcome.steps for t in ran), default=0),
            trials=tuple(ran),
            necessary=dict(necessary or {}),
        )

    def rejudge(self, best_skill: float | None) -> None:
        """Hold every run against the best skill seen at this horizon."""
        self.trials = {seed: held_against(t, best_skill) for seed, t in self.trials.items()}


def flaky(controls: Sequence[Trial]) -> float:
    """Share of fresh seeds on which the unchanged program is restored: above 0 the failure depends
    on the seed."""
    return sum(is_restored(t) for t in controls) / len(controls) if controls else 0.0


def held_against(trial: Trial, best_skill: float | None) -> Trial:
    """The trial with its judgement held against the study's best skill."""
    if trial.judgement is None:
        return trial
    return replace(trial, judgement=against_best(trial.judgement, best_skill))


def _metric(trial: Trial) -> float:
    return trial.judgement.metric if trial.judgement is not None else math.nan


def _most_common(names: Sequence[str]) -> str:
    return max(sorted(set(names)), key=list(names).count) if names else "none"
