"""What the command line may say about a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeper.types import Program


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line may say."""

    program: Program
    study: Path
    space: str | None = None
    budget: float | None = 600.0
    """Seconds of wall clock; None is without limit."""
    trials: int = 40
    steps: int | None = None
    seeds: int = 5
    slots: int | None = None
    seed: int = 0
    warm: bool = True
    storage: str | None = None
    """Database URL of a server that keeps the study; None keeps it in the study folder."""
    ray: str | None = None
    """Address of a Ray cluster, or ``local``; None makes the runs on this machine."""
    devices: str | None = None
    trials_per_gpu: int = 1
    deterministic: bool = False
    """Same seed, same ranking: rounds of fixed size, no wall clock, everything asked anew."""
    allow_side_effects: bool = False
    """Trials may repeat what the baseline did outside of its own files (servers, devices)."""

    @property
    def comparable(self) -> dict[str, object]:
        """What makes trials of one study comparable: it is continued with the same."""
        return {
            "space": self.space, "steps": self.steps, "seed": self.seed,
            "deterministic": self.deterministic,
        }  # fmt: skip
