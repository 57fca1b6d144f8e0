"""What a night hands to its page: plain data, nothing of pandas or jinja."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.types import FixValue

ORDER = ("crashed", "refused", "inconclusive", "improved", "not_fixable", "failing", "fixed")
"""Failing verdicts, most urgent first."""

SAID = {
    "fixed": "fails, fix known", "improved": "fails, only improved", "refused": "not looked at",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one night found on one program or log."""

    name: str
    kind: str
    """``program`` or ``log``."""
    verdict: str
    """A verdict of a study, or ``refused`` for one that could not be looked at."""
    reason: str
    identity: str = ""
    """Of the program's source and arguments, or of the log's content."""
    digest: str = ""
    """Of the losses that the unchanged program made: equal means that nothing changed."""
    cause: str = ""
    fix: Mapping[str, FixValue] | None = None
    holds: bool | None = None
    """Whether the fix of an earlier night still restores; None when none was put to the proof."""
    metric: str = ""
    baseline: float | None = None
    value: float | None = None
    """Median under the fix on fresh seeds."""
    report: str = ""
    """Report folder, relative to the state folder."""
    reused: bool = False
    """True when nothing had changed since an earlier night, whose result this is."""
    runs: int = 0
    steps: int = 0
    seconds: float = 0.0

    @property
    def said(self) -> str:
        """The verdict in words: a fix that is known is not one that is made."""
        return SAID.get(self.verdict, self.verdict.replace("_", " "))

    @property
    def headline(self) -> str:
        """The first line of the reason; what follows it is a traceback."""
        return self.reason.partition("\n")[0]

    @property
    def failing(self) -> bool:
        """The program as it stands does not train."""
        return self.verdict != "healthy"


@dataclass(frozen=True, kw_only=True)
class Night:
    """One night; ``finished`` is None while it is not over, or when it was cut off."""

    id: int
    started: float
    finished: float | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One name on the page, with everything earlier nights found on it."""

    found: Found
    past: tuple[tuple[Night, Found], ...]
    """Oldest first; the last one is ``found``."""

    @property
    def since(self) -> float:
        """When the present verdict began, in seconds of `time.time`: the first night with it and
        without another in between."""
        began = self.past[-1][0].started
        for night, found in reversed(self.past):
            if found.verdict != self.found.verdict:
                break
            began = night.started
        return began

    @property
    def before(self) -> Found | None:
        """What the night before found."""
        return self.past[-2][1] if len(self.past) > 1 else None

    @property
    def urgency(self) -> tuple[int, int, str]:
        """Sorts first what needs a person first: a fix that no longer holds, then what newly
        fails, then the rest of the failing."""
        found, before = self.found, self.before
        if not found.failing:
            return 3, 0, found.name
        place = ORDER.index(found.verdict) if found.verdict in ORDER else len(ORDER)
        if found.holds is False:
            return 0, place, found.name
        return (1 if before is None or not before.failing else 2), place, found.name
