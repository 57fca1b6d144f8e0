"""So many samples a step that there are hardly any steps."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

FEW = 150
"""Steps in the whole run under which a batch is suspected (design)."""


def explain(e: Evidence) -> Hypothesis | None:
    size, steps = e.facts.batch_size, e.planned
    samples = max((x.n_samples or 0 for x in e.facts.loaders if x.trained), default=0)
    per_pass = max(1.0, samples / size) if size and samples else float("nan")
    hardly_any = steps <= FEW / 3
    large = size >= 512 or per_pass <= 4 or hardly_any
    if not size or size < 64 or not large or e.blew_up:
        return None
    if e.hot and not (hardly_any and e.still_falling):
        return None
    belief = 0.2
    if steps <= FEW:
        belief = 0.75 if hardly_any else (0.7 if e.still_falling else 0.5)
    elif size >= 1024:
        belief = 0.3
    return hypothesis(
        Cause.BATCH_TOO_LARGE,
        belief,
        f"batches of {size} leave {steps} steps in the whole run",
        batch_size=size,
        steps=steps,
    )


CAUSE = CauseRule(
    cause=Cause.BATCH_TOO_LARGE,
    definition="batches of 512 or more, or a quarter of the data, or fifty steps at most, and so"
    " few steps that the loss is still falling",
    source="Keskar et al. 2017; design",
    remedies=("batch_size", "learning_rate"),
    explain=explain,
    explains=(
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.OPTIMIZER_MISMATCH,
        Cause.MISSING_WARMUP,
        Cause.LEARNING_RATE_TOO_HIGH,
    ),
)
