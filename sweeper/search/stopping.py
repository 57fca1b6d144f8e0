"""When to stop searching: trials, wall clock, enough restored candidates, enough verified fixes."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a study may spend and what it needs; None is without limit."""

    trials: int | None = None
    """Searching trials (screening and joint), counted in the study, not in this call."""
    seconds: float | None = None
    """Wall clock of the whole command."""
    search_share: float = 0.6
    """Share of the wall clock that searching may use; the rest is for the proof."""
    candidates: int = 3
    """Restored fixes from which the joint search has enough to verify."""
    verified: int = 3
    """Verified fixes wanted."""

    def __post_init__(self) -> None:
        for name, low in (("trials", 1), ("seconds", 0.0), ("candidates", 1), ("verified", 1)):
            value = getattr(self, name)
            if value is not None and (value < low or value != value):
                raise UsageError(f"{name} is at least {low:g}, got {value!r}")
        if not 0.0 < self.search_share <= 1.0:
            raise UsageError(f"search_share is in (0, 1], got {self.search_share!r}")

    def search_over(self, n_trials: int, seconds: float, n_restored: int) -> str:
        """Why searching stops now, or the empty string."""
        if self.trials is not None and n_trials >= self.trials:
            return f"{self.trials} trials made"
        if self.seconds is not None and seconds >= self.search_share * self.seconds:
            return f"{self.search_share:.0%} of the budget of {self.seconds:g} s spent on searching"
        if n_restored >= self.candidates:
            return f"{n_restored} restored candidates found"
        return ""

    def all_over(self, seconds: float, n_verified: int) -> str:
        """Why the whole command stops now, or the empty string."""
        if n_verified >= self.verified:
            return f"{n_verified} fixes verified"
        if self.seconds is not None and seconds >= self.seconds:
            return f"the budget of {self.seconds:g} s is spent"
        return ""
