"""When to sample: dense at the start, where runs go wrong, then ever thinner."""

from __future__ import annotations


def layers_due(step: int) -> bool:
    """Per-layer norms:
    steps 0 to 4, then about every tenth of what has passed, at least every 50th step, every 100th
    beyond 2,000 and every 200th beyond 4,000.
    """
    if step < 5:
        return True
    if step < 100:
        return step % 10 == 0
    if step < 500:
        return step % 25 == 0
    return step % (50 if step < 2000 else 100 if step < 4000 else 200) == 0


SMALL_BATCH = 16
"""Samples of a batch under which fewer steps would leave too few: a third of 2,000 steps, every
sixteenth of them, holds 660 samples in batches of this size (200 to 1,000 are needed)."""


def details_due(step: int, batch: int = 0) -> bool:
    """What the batch was, what was answered, gradient norms: every step of an ordinary run, every
    fourth from step 1,000 on, and from step 2,000 every sixteenth, or eighth of small batches.
    Loss and rate are taken at every step whatever its number.
    """
    if step < 1000:
        return True
    every = 4 if step < 2000 else 8 if batch < SMALL_BATCH else 16
    return step % every == 0 or layers_due(step)


def activations_due(step: int) -> bool:
    """Start of a window of forwards for activation statistics."""
    if step <= 300:
        return step in (0, 1, 2, 10, 30, 100, 200, 300)
    return step % (250 if step < 2000 else 500) == 0


def block_length(step: int) -> int:
    """Steps that are fetched and written together: the record is never further behind than this
    after a kill."""
    if step < 200:
        return 20
    if step < 1000:
        return 50
    return 100 if step < 2000 else 200
