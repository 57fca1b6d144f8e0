"""So few samples a step that gradients or batch statistics are noise."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    size = e.facts.batch_size // max(1, e.facts.backwards_per_step)
    if not 0 < size <= 8:
        return None
    if e.batch_statistics and size <= 4:
        belief = 0.9
    else:
        belief = {1: 0.45, 2: 0.4, 3: 0.3, 4: 0.3}.get(size, 0.15)
        if e.has(Symptom.OSCILLATION, Symptom.LOSS_SPIKE):
            belief += 0.15
        if e.critical(Symptom.STARVED_UPDATES):
            belief *= 0.3
    return hypothesis(
        Cause.BATCH_TOO_SMALL,
        belief,
        f"batches of {size}" + (" under batch normalisation" if e.batch_statistics else ""),
        batch_size=size,
    )


CAUSE = CauseRule(
    cause=Cause.BATCH_TOO_SMALL,
    definition="at most four samples a batch under batch normalisation, or a batch of a few samples"
    " in a run that"
    " does not settle",
    source="Wu and He 2018 (batch normalisation fails under 8); design",
    remedies=("batch_size", "learning_rate", "normalisation"),
    explain=explain,
    explains=(
        Cause.UNBOUNDED_GRADIENT,
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.BAD_INITIALISATION,
        Cause.DEAD_ACTIVATION,
    ),
)
