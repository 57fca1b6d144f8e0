"""Screening, then the joint study, as one source of fixes to run: ``next_fix`` and ``tell``.

The driver calls both under one lock (execution's ``fan_out``); None from ``next_fix`` means
"nothing now", to be asked again when a run has ended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from sweeper.search.judge import against_best
from sweeper.search.stopping import Limits
from sweeper.search.study import JointStudy
from sweeper.types import Fix, Trial

Phase = Literal["screening", "joint"]


class Campaign:
    """One search over fixes. The first value of every remedy is always screened; the rest may be
    cut short."""

    def __init__(
        self,
        screening: Sequence[Fix],
        study: JointStudy,
        limits: Limits,
        *,
        started: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``started`` is the clock's value when the command began, as the wall clock budget counts
        from there."""
        self._screening = list(screening)
        self._earlier = list(study.earlier)
        self._study = study
        self._limits = limits
        self._clock = clock
        self._started = clock() if started is None else started
        self._seen: set[frozenset[str]] = set()
        self._running: dict[str, Phase] = {}
        self._asked = 0
        self._best: float | None = None
        self.trials: list[Trial] = []
        """Every told trial, in the order of their ends."""
        self.stop_reason = ""

    @property
    def best_skill(self) -> float | None:
        """The largest skill of any told run, None before there is one."""
        return self._best

    @property
    def restored(self) -> list[Trial]:
        """Trials restored by what is known now, best candidate first: fewest changes, then highest
        score."""
        found = [t for t in self.rejudged() if is_restored(t)]
        return sorted(found, key=_candidate_key)

    def rejudged(self) -> list[Trial]:
        """Every told trial with its judgement held against the best skill of all."""
        return [
            t if t.judgement is None
            else replace(t, judgement=against_best(t.judgement, self._best))
            for t in self.trials
        ]  # fmt: skip

    def next_fix(self) -> tuple[Phase, Fix] | None:
        """The next fix to run with its phase; None for nothing now."""
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
        fix_or_none = self._study.ask()
        if fix_or_none is None:
            self.stop_reason = self.stop_reason or "every fix of the search space was tried"
            return None
        return self._hand_out("joint", fix_or_none)

    def tell(self, trial: Trial) -> None:
        """Take in a finished trial of this campaign, or one made before it such as the baseline."""
        self._running.pop(trial.fix.hash, None)
        self._study.tell(trial)
        self.trials.append(trial)
        if trial.judgement is None or trial.not_applied:
            return
        skill = trial.judgement.skill
        if math.isfinite(skill) and (self._best is None or skill > self._best):
            self._best = skill

    def _hand_out(self, phase: Phase, fix: Fix) -> tuple[Phase, Fix]:
        self._running[fix.hash] = phase
        self._asked += 1
        return phase, fix

    def _over(self) -> str:
        found = {t.fix.hash for t in self.restored if t.fix.changes}
        return self._limits.search_over(self._asked, self._clock() - self._started, len(found))

    def _hard_stop(self) -> bool:
        """Trials and time end everything; enough candidates only end what is not the first of its
        kind."""
        return bool(self._limits.search_over(self._asked, self._clock() - self._started, 0))


def is_restored(trial: Trial) -> bool:
    """Judged restored under a fix of which every part took effect."""
    return trial.judgement is not None and trial.judgement.restored and not trial.not_applied


def _candidate_key(trial: Trial) -> tuple[int, float, str]:
    score = trial.judgement.score if trial.judgement is not None else -3.0
    return len(trial.fix.changes), -score, trial.fix.hash
