"""Screening, then the joint study, as one source of fixes to run: ``next_fix`` and ``tell``.

The driver calls both under one lock (execution's ``fan_out``); None from ``next_fix`` means
"nothing now", to be asked again when a run has ended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from sweeper.search.judge import against_best
from sweeper.search.stopping import Limits
from sweeper.search.study import JointStudy
from sweeper.types import Fix, Trial

Phase = Literal["screening", "joint"]
CAUSE_BONUS = 0.05
"""Of a score in [-1, 1], at full belief: about the spread of a metric over seeds."""


class Campaign:
    """One search over fixes. The first value of every remedy is always screened; the rest may be
    cut short."""

    def __init__(
        self,
        screening: Sequence[Fix],
        study: JointStudy,
        limits: Limits,
        *,
        beliefs: Mapping[str, float] | None = None,
        second_look: Callable[[Trial], Sequence[Fix]] = lambda trial: (),
        started: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        interrupted: Callable[[], str] = lambda: "",
    ) -> None:
        """``started`` is the clock's value when the command began, as the wall clock budget counts
        from there. ``beliefs`` is remedy -> how far it is believed to treat the cause.
        ``second_look`` gives fixes to screen next, after a trial of screening."""
        self._beliefs = dict(beliefs or {})
        self.interrupted = interrupted
        """Why the person wants the search to end now, or the empty string."""
        self._screening = list(screening)
        self._earlier = list(study.earlier)
        self._study = study
        self._second_look = second_look
        self._limits = limits
        self._clock = clock
        self._started = clock() if started is None else started
        self._paused = 0.0
        self._seen: set[frozenset[str]] = set()
        self._running: dict[str, Phase] = {}
        self._asked = 0
        self._joint = 0
        self._best: float | None = None
        self.trials: list[Trial] = []
        """Every told trial, in the order of their ends."""
        self.stop_reason = ""
        self._disproven: set[str] = set()
        self._failed: set[str] = set()
        """Fixes whose failed run was looked at."""

    @property
    def best_skill(self) -> float | None:
        """The largest skill of any told run, None before there is one."""
        return self._best

    @property
    def restored(self) -> list[Trial]:
        """Trials restored by what is known now, best candidate first: fewest changes, then highest
        score."""
        # Being held against a better run never restores: only what was restored needs it.
        alone = [t for t in self.trials if is_restored(t)]
        found = [t for t in self._held_against_best(alone) if is_restored(t)]
        return sorted(found, key=self._candidate_key)

    @property
    def candidates(self) -> list[Trial]:
        """`restored` without those that failed their proof or hold another of the rest and more."""
        keep = {fix.hash for fix in self._sufficient()}
        return [t for t in self.restored if t.fix.hash in keep]

    def _sufficient(self) -> list[Fix]:
        found = [t.fix for t in self.restored if t.fix.changes]
        return smallest([fix for fix in found if fix.hash not in self._disproven])

    def _candidate_key(self, trial: Trial) -> tuple[int, float, str]:
        """Fewest changes, then score. A remedy that treats the believed cause gets a small start:
        a smaller rate that masks a bug must not win by a hair against the bug's own repair."""
        score = trial.judgement.score if trial.judgement is not None else -3.0
        belief = max((self._beliefs.get(n, 0.0) for n in trial.fix.changes), default=0.0)
        return len(trial.fix.changes), -(score + CAUSE_BONUS * belief), trial.fix.hash

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile does not count as time spent on searching, but the budget is of
        the wall clock."""
        begun = self._clock()
        try:
            yield
        finally:
            self._paused += self._clock() - begun

    def rejudged(self) -> list[Trial]:
        """Every told trial with its judgement held against the best skill of all."""
        return self._held_against_best(self.trials)

    def _held_against_best(self, trials: Sequence[Trial]) -> list[Trial]:
        return [
            t if t.judgement is None
            else replace(t, judgement=against_best(t.judgement, self._best))
            for t in trials
        ]  # fmt: skip

    def next_fix(self) -> tuple[Phase, Fix] | None:
        """The next fix to run with its phase; None for nothing now."""
        if self.interrupted():
            self.stop_reason = self.interrupted()
            return None
        reason = self._over()
        while self._screening:
            fix = self._screening[0]
            first = frozenset(fix.changes) not in self._seen
            if reason and not (first and not self._hard_stop()):
                self._screening.clear()
                break
            self._screening.pop(0)
            self._seen.add(frozenset(fix.changes))
            return self._hand_out("screening", fix)
        if self._earlier:
            # Made before an interruption: found in its folder, judged again, and counted like any
            # other.
            return self._hand_out("joint", self._earlier.pop(0))
        if reason:
            self.stop_reason = self.stop_reason or reason
            return None
        if "screening" in self._running.values():
            return None  # combinations are built from what screening found
        fix_or_none = self._study.ask(self._needless())
        if fix_or_none is None:
            self.stop_reason = self.stop_reason or "every fix of the search space was tried"
            return None
        return self._hand_out("joint", fix_or_none)

    def tell(self, trial: Trial) -> None:
        """Take in a finished trial of this campaign, or one made before it such as the baseline."""
        phase = self._running.pop(trial.fix.hash, None)
        self._study.tell(trial)
        self.trials.append(trial)
        if trial.judgement is None or trial.not_applied:
            return
        skill = trial.judgement.skill
        if math.isfinite(skill) and (self._best is None or skill > self._best):
            self._best = skill
        if phase == "screening" and not self._over():
            self._screen_next(self._second_look(trial))

    def disproven(self, failed: Mapping[str, Trial]) -> None:
        """Candidates (by the hash of their fix) that failed on fresh seeds, with a failed run each:
        they are enough no longer, and a second look at the run may say what they lack."""
        new = sorted(failed.keys() - self._disproven)
        self._disproven.update(new)
        for trial in {failed[known].fix.hash: failed[known] for known in new}.values():
            if trial.fix.hash not in self._failed:  # elimination left the same of two candidates
                self._failed.add(trial.fix.hash)
                self._screen_next(self._second_look(trial))

    def _screen_next(self, fixes: Sequence[Fix]) -> None:
        waiting = {fix.hash for fix in fixes}
        rest = [fix for fix in self._screening if fix.hash not in waiting]
        self._screening = [fix for fix in fixes if not self._study.knows(fix)] + rest

    def _needless(self) -> Callable[[Fix], bool]:
        """Two asks of three leave out what adds to a fix that is sufficient already: they look for
        another way. The third may add, so that a better run than the sufficient ones can show."""
        self._joint += 1
        if self._joint % 3 == 0:
            return lambda fix: False
        enough = self._sufficient()
        return lambda fix: any(fix.changes.items() > small.changes.items() for small in enough)

    def _hand_out(self, phase: Phase, fix: Fix) -> tuple[Phase, Fix]:
        self._running[fix.hash] = phase
        self._asked += 1
        self.stop_reason = ""  # a search that had ended goes on where a candidate failed its proof
        return phase, fix

    def _over(self) -> str:
        return self._over_with(len(self._sufficient()))

    def _hard_stop(self) -> bool:
        """Trials and time end everything; enough candidates only end what is not the first of its
        kind."""
        return bool(self._over_with(0))

    def _over_with(self, candidates: int) -> str:
        seconds = self._clock() - self._started
        return self._limits.all_over(seconds, 0) or self._limits.search_over(
            self._asked, seconds - self._paused, candidates
        )


def is_restored(trial: Trial) -> bool:
    """Judged restored under a fix of which every part took effect."""
    return trial.judgement is not None and trial.judgement.restored and not trial.not_applied


def smallest(fixes: Sequence[Fix]) -> list[Fix]:
    """The fixes that hold no other of them: a restored part makes the rest of a fix needless."""

    def holds(big: Fix, small: Fix) -> bool:
        return big.changes.items() > small.changes.items()

    unique = {fix.hash: fix for fix in fixes}.values()
    return [fix for fix in unique if not any(holds(fix, other) for other in unique)]
