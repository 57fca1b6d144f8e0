"""One sample a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, number, real
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import Session


def _size(value: FixValue, facts: Facts) -> int:
    """The size asked for, or the next one that leaves no batch of one sample: batch normalisation
    refuses those."""
    size = int(real(value))
    samples = next((x.n_samples for x in facts.loaders if x.trained and x.n_samples), 0)
    while facts.norms and (size < 2 or samples % size == 1):
        size += 1
    return size


def refusal(value: FixValue, facts: Facts) -> str:
    if not any(x.trained and not x.reason and x.batch_size for x in facts.loaders):
        return "the program has no DataLoader whose batch size could be changed"
    if facts.batch_size <= _size(value, facts):
        return f"its batches hold {facts.batch_size} samples"
    return ""


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import all_remedies

    assert session.facts is not None
    size = _size(value, session.facts)
    confirm(session, "tiny_batch", size=size)
    all_remedies()["batch_size"].apply(session, size)


def effect(value: FixValue, record: RunRecord) -> str:
    from sweeper.remedies import all_remedies

    size = int(record.outcome.applied.get("fault:tiny_batch", {}).get("size", 0))
    return all_remedies()["batch_size"].effect(max(1, size), record)


FAULT = Fault(
    name="tiny_batch",
    summary="a step for every sample",
    values="samples a step, 1 to 64 (default 1; 2 or 3 where the model normalises)",
    default=1.0,
    source="Wu and He 2018: batch statistics fail on small batches",
    causes=always(Cause.BATCH_TOO_SMALL),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=number("tiny_batch", 1, 64),
)
