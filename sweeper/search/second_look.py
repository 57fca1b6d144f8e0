"""What is still wrong once a believed cause is treated: a fault can hide behind another.

A trial that treats a strongly believed cause and is not restored is diagnosed itself. What it shows
now is either what the first fault had masked, or what the wrong diagnosis had overlooked; a remedy
for it is tried on top of the treatment, before anything less believed is tried alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeper.diagnosis import diagnose
from sweeper.search.screening import remedy_beliefs, remedy_order, values_of
from sweeper.search.space import Space
from sweeper.telemetry.record import read_record
from sweeper.types import Diagnosis, Dimension, Facts, Fix, Trial

TREATED = 0.5
"""Belief that a remedy of the trial treats a cause, from which the trial is looked at again."""
SEEN = 0.3
"""Belief in a cause of the trial from which it is treated as well."""
MOST_ADDED = 2
"""Fixes that one look adds."""
MOST = 8
"""Fixes that all looks of a study add."""


@dataclass
class SecondLook:
    """Looks at trials, and counts what it asks for."""

    facts: Facts
    diagnosis: Diagnosis
    """Of the baseline."""
    space: Space
    dimensions: Mapping[str, Mapping[str, Dimension]]
    _beliefs: dict[str, float] = field(init=False)
    _added: int = 0

    def __post_init__(self) -> None:
        self._beliefs = remedy_beliefs(self.diagnosis)

    def after(self, trial: Trial) -> list[Fix]:
        """Fixes that hold the trial's and one remedy more; empty where a second look says
        nothing."""
        names = trial.fix.changes
        if trial.judgement is None or trial.judgement.restored or trial.not_applied:
            return []
        if not names or len(names) >= self.space.max_changes or self._added >= MOST:
            return []
        if max(self._beliefs.get(name, 0.0) for name in names) < TREATED:
            return []
        found = diagnose(read_record(trial.folder), treated=names)
        left = [name for name in self.dimensions if name not in names]
        beliefs = remedy_beliefs(found)
        fixes = []
        for name in remedy_order(found, [n for n in left if beliefs.get(n, 0.0) >= SEEN]):
            values = values_of(name, self.facts, found, self.space, self.dimensions[name])
            fixes += [Fix(changes={**names, name: value}) for value in values[:1]]
        fixes = fixes[: min(MOST_ADDED, MOST - self._added)]
        self._added += len(fixes)
        return fixes
