"""When to sample: dense at the start, where runs go wrong, then ever thinner."""

from __future__ import annotations


def layers_due(step: int) -> bool:
    """Per-layer norms:
    steps 0 to 4, then about every tenth of what has passed, at least every 50th step.
    """
    if step < 5:
        return True
    if step < 100:
        return step % 10 == 0
    return step % (25 if step < 500 else 50) == 0


def activations_due(step: int) -> bool:
    """Start of a window of forwards for activation statistics."""
    return step in (0, 1, 2, 10, 30, 100, 200, 300) or (step > 300 and step % 250 == 0)


def block_length(step: int) -> int:
    """Steps that are fetched and written together: the record is never further behind than this
    after a kill."""
    return 20 if step < 200 else 50
