"""The smallest sufficient fix: backward elimination, then numbers moved back toward the program's
own.

A state machine: ``wanted()`` names the fixes whose runs decide the next move (independent of one
another, so they can run side by side), ``tell`` takes a result. Runs are content-addressed, so
asking for a known fix costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.types import Facts, Fix, FixValue, Judgement, Trial

if TYPE_CHECKING:
    from sweeper.remedies import Remedy


class Elimination:
    """Reduce one restored fix while it stays restored.

    First drop changes: of all fixes with one change less that are restored, the one with the
    highest score is kept, and so on until each drop breaks it; those last drops are the
    leave-one-out evidence that every change left is necessary. Then each number moves to the
    mildest value that still restores.
    """

    def __init__(
        self, fix: Fix, facts: Facts, remedies: Mapping[str, Remedy], *, soften: bool = True
    ) -> None:
        """``soften=False`` only drops changes."""
        self._facts = facts
        self._remedies = remedies
        self._results: dict[str, Judgement | None] = {}
        self._fix = fix
        self._dropping = True
        self._soften = soften
        self._to_soften = sorted(fix.changes) if soften else []
        self._milder: list[Fix] = []

    @property
    def fix(self) -> Fix:
        """The smallest restored fix known so far."""
        return self._fix

    @property
    def done(self) -> bool:
        """True when nothing can be dropped or softened."""
        self._advance()
        return not self._dropping and not self._milder and not self._to_soften

    def wanted(self) -> list[Fix]:
        """Fixes to run next, without those told already; empty when done or while results are
        awaited."""
        self._advance()
        return [fix for fix in self._candidates() if fix.hash not in self._results]

    def tell(self, trial: Trial) -> None:
        """Take in the result of a wanted fix; a run that could not be judged counts as not
        restored."""
        applied = trial.judgement is not None and not trial.not_applied
        self._results[trial.fix.hash] = trial.judgement if applied else None

    def know(self, fix: Fix, judgement: Judgement | None) -> None:
        """Take in a result that the study has already."""
        self._results[fix.hash] = judgement

    def necessary(self) -> dict[str, bool]:
        """Remedy -> the fix failed without it; only for remedies whose leave-one-out was run."""
        found: dict[str, bool] = {}
        for name in sorted(self._fix.changes):
            without = _without(self._fix, name)
            if without.hash in self._results:
                found[name] = not self._restored(without)
        if len(self._fix.changes) == 1:
            # Without its only change it is the unchanged program, which failed.
            found = dict.fromkeys(self._fix.changes, True)
        return found

    def leave_one_out(self) -> list[Fix]:
        """The fixes that ``necessary`` needs; run those not told yet once elimination is done."""
        if len(self._fix.changes) < 2:
            return []
        return [
            fix
            for fix in (_without(self._fix, name) for name in sorted(self._fix.changes))
            if fix.hash not in self._results
        ]

    def _candidates(self) -> list[Fix]:
        if self._dropping:
            return self._drops()
        # Mildest first, one at a time: a value that restores makes the stronger ones needless.
        return self._milder[:1]

    def _drops(self) -> list[Fix]:
        if len(self._fix.changes) < 2:
            return []
        return [_without(self._fix, name) for name in sorted(self._fix.changes)]

    def _advance(self) -> None:
        """Move on as far as the results allow."""
        while self._dropping and all(f.hash in self._results for f in self._drops()):
            restored = [f for f in self._drops() if self._restored(f)]
            if not restored:
                self._dropping = False
                self._to_soften = sorted(self._fix.changes) if self._soften else []
                break
            self._fix = max(restored, key=lambda f: (self._score(f), f.hash))
        while not self._dropping:
            if not self._milder:
                if not self._to_soften:
                    return
                self._milder = self._softened(self._to_soften.pop(0))
                continue
            if self._milder[0].hash not in self._results:
                return
            tried = self._milder.pop(0)
            if self._restored(tried):
                self._fix = tried
                self._milder = []

    def _softened(self, name: str) -> list[Fix]:
        value = self._fix.changes[name]
        milder = self._remedies[name].toward_baseline(value, self._facts)
        return [Fix(changes={**self._fix.changes, name: m}) for m in milder if _differs(m, value)]

    def _restored(self, fix: Fix) -> bool:
        judgement = self._results[fix.hash]
        return judgement is not None and judgement.restored

    def _score(self, fix: Fix) -> float:
        judgement = self._results[fix.hash]
        return -3.0 if judgement is None else judgement.score


def _without(fix: Fix, name: str) -> Fix:
    return Fix(changes={k: v for k, v in fix.changes.items() if k != name})


def _differs(a: FixValue, b: FixValue) -> bool:
    return Fix(changes={"value": a}).hash != Fix(changes={"value": b}).hash
