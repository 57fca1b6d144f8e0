"""From restored candidates to verified fixes:
make each as small as it goes, then prove it on fresh seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sweeper.execution.jobs import REPEATABLE
from sweeper.execution.trials import Bench, Phase
from sweeper.remedies import all_remedies
from sweeper.search.campaign import is_restored
from sweeper.search.judge import against_best
from sweeper.types import Fix, Trial, VerifiedFix
from sweeper.verification.fresh_seeds import Rule, Verification
from sweeper.verification.minimal import Elimination

EXPECTED = 0.8
"""A further proof is begun when this share of the last one's time is left."""


@dataclass
class Proof:
    """The second half of a study. ``trials`` collects every run it made.

    Args:
        bench: makes the runs.
        rule: seeds and how many must be restored.
        over: why to stop, or the empty string,
            given the number of verified fixes and seconds ahead.
        best_skill: best of the search so far, for "as good as what the study reached".
    """

    bench: Bench
    rule: Rule
    over: Callable[..., str]
    best_skill: float | None = None
    told: Callable[[Trial], None] = lambda trial: None
    trials: list[Trial] = field(default_factory=list)
    controls: dict[int, Trial] = field(default_factory=dict)
    verifications: list[Verification] = field(default_factory=list)
    necessary: dict[str, dict[str, bool]] = field(default_factory=dict)
    _proven: dict[str, str] = field(default_factory=dict)
    """Hash of a candidate that was put to the proof -> hash of what was left of it."""
    _last_seconds: float = 0.0

    def has_new(self, candidates: Sequence[Trial]) -> bool:
        """True when one of them was not put to the proof yet and there is time for it."""
        new = any(c.fix.hash not in self._proven for c in candidates)
        return new and not self.over(self.n_verified(), self._last_seconds)

    def prove_next(
        self, candidates: Sequence[Trial], known: Sequence[Trial], best_skill: float | None
    ) -> None:
        """The best new candidate alone, before the search goes on; `prove` runs the controls.

        Its needless changes go, its numbers stay: a milder value that restores once is nearer to
        the edge and fails more often on fresh seeds, and nothing is verified yet.
        """
        self.best_skill = best_skill
        new = [c for c in candidates if c.fix.hash not in self._proven]
        self._prove(new[:1], known, soften=False)

    def prove(self, candidates: Sequence[Trial], known: Sequence[Trial]) -> list[VerifiedFix]:
        """Candidates in order, best first; stops when enough are verified or the budget is gone.

        ``known`` are trials of the search whose results spare elimination a run.
        """
        self._prove(candidates, known)
        self._run_controls()
        return self.results()

    def _prove(
        self, candidates: Sequence[Trial], known: Sequence[Trial], *, soften: bool = True
    ) -> None:
        for candidate in candidates:
            if candidate.fix.hash in self._proven:
                continue
            if self.over(self.n_verified(), self._last_seconds):
                break  # no time for another proof like the last
            fix = self._smallest(candidate.fix, known, soften=soften)
            known_already = fix.hash in self._proven
            self._proven |= dict.fromkeys((candidate.fix.hash, fix.hash), fix.hash)
            if known_already:
                continue
            begun = time.monotonic()
            self.verify(fix)
            self._last_seconds = EXPECTED * (time.monotonic() - begun)

    @property
    def disproven(self) -> dict[str, Trial]:
        """Hash of each candidate that failed too many fresh seeds -> one of the failed runs."""
        failed = {
            v.fix.hash: next(t for t in v.trials.values() if not is_restored(t))
            for v in self._rejudged()
            if v.lost
        }
        return {given: failed[left] for given, left in self._proven.items() if left in failed}

    def n_verified(self) -> int:
        """Fixes verified so far, held against the best skill at the long horizon."""
        return sum(v.verified for v in self._rejudged())

    def results(self) -> list[VerifiedFix]:
        """What is known of every candidate that was put to the proof."""
        proven = [v for v in self._rejudged() if v.trials]
        return [v.result(self.necessary.get(v.fix.hash)) for v in proven]

    def verify_best(self, fix: Fix) -> list[VerifiedFix]:
        """Put one fix to the proof although it was not restored in the search.

        It may still improve.
        """
        self.verify(fix, stop_early=False)
        self._run_controls()
        return self.results()

    def confirm(self, fix: Fix) -> list[VerifiedFix]:
        """Put a fix that was verified before to the proof again."""
        self.verify(fix)
        self._run_controls()
        return self.results()

    def _smallest(self, fix: Fix, known: Sequence[Trial], *, soften: bool) -> Fix:
        elimination = Elimination(fix, self.bench.facts, all_remedies(), soften=soften)
        if len(fix.changes) > 1:
            for trial in (*known, *(t for t in self.trials if t.phase == "elimination")):
                judgement = trial.judgement
                if trial.outcome.status == "behind":
                    continue  # slower than others, which does not say that it does not suffice
                if judgement is None or trial.not_applied:
                    elimination.know(trial.fix, None)
                else:
                    elimination.know(trial.fix, against_best(judgement, self.best_skill))
            while not elimination.done and not self.over(self.n_verified()):
                wanted = elimination.wanted()
                if not wanted:
                    break
                self._reduce(elimination, wanted)
            if not self.over(self.n_verified()):
                # A softened number makes another fix: what each change is worth there is not known.
                self._reduce(elimination, elimination.leave_one_out())
        self.necessary[elimination.fix.hash] = elimination.necessary()
        return elimination.fix

    def _reduce(self, elimination: Elimination, fixes: Sequence[Fix]) -> None:
        for trial in self._run("elimination", [(f, 0) for f in fixes], full=False):
            if trial.outcome.status in REPEATABLE and self.over(self.n_verified()):
                continue  # ended with the study, not by itself
            if trial.judgement is not None:
                trial = replace(trial, judgement=against_best(trial.judgement, self.best_skill))
            elimination.tell(trial)

    def verify(self, fix: Fix, *, stop_early: bool = True) -> None:
        """Run a fix as it stands on the fresh seeds; `prove` and `results` add the controls."""
        verification = Verification(fix, self.rule, self.controls)
        self.verifications.append(verification)
        running: set[int] = set()

        def wanted() -> tuple[Phase, Fix, int, bool] | None:
            if stop_early and verification.lost:
                return None
            if verification.verified and self.over(0):
                return None  # certain: the seeds left would only narrow the interval
            for seed in self.rule.fresh:
                if seed not in verification.trials and seed not in running:
                    running.add(seed)
                    return "verification", fix, seed, True
            return None

        def told(trial: Trial) -> None:
            if trial.outcome.status in REPEATABLE:
                return  # it says nothing about the fix
            self.trials.append(trial)
            self.told(trial)
            verification.tell(trial)

        self.bench.run_all(wanted, told)

    def _run_controls(self) -> None:
        """The unchanged program at the same seeds, as many as the budget allows, at least one."""
        if not any(v.trials for v in self.verifications):
            return
        waiting = [seed for seed in self.rule.fresh if seed not in self.controls]

        def wanted() -> tuple[Phase, Fix, int, bool] | None:
            known = len(self.rule.fresh) - len(waiting)
            if not waiting or (known >= 1 and self.over(0)):
                return None
            return "control", Fix(), waiting.pop(0), True

        def told(trial: Trial) -> None:
            if trial.outcome.status in REPEATABLE:
                return
            self.trials.append(trial)
            self.told(trial)
            self.controls[trial.seed] = trial

        self.bench.run_all(wanted, told)

    def _run(self, phase: Phase, items: list[tuple[Fix, int]], *, full: bool) -> list[Trial]:
        found = self.bench.run_list(phase, items, full=full)
        self.trials.extend(found)
        for trial in found:
            self.told(trial)
        return found

    def _rejudged(self) -> list[Verification]:
        skills = [v.result().skill for v in self.verifications if v.trials]
        best = max((s for s in skills if s == s), default=None)
        for verification in self.verifications:
            verification.rejudge(best)
        return self.verifications
