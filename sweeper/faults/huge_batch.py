"""So many samples a step that hardly any step is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweeper.faults._base import Fault, always, number, real
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import Session

FEWEST = 12
"""Steps that stay: fewer cannot be judged."""


def _size(value: FixValue, facts: Facts) -> int:
    """``value`` times the program's own, at most the whole training data, and so few that some
    steps are left."""
    loaders = [x for x in facts.loaders if x.trained and not x.reason and x.batch_size]
    own = int(loaders[0].batch_size or 0) if loaders else facts.batch_size
    most = max((x.n_samples or 0 for x in loaders), default=0)
    times = min(int(real(value)), max(1, facts.steps // FEWEST))
    return min(own * times, most) if most else own * times


def refusal(value: FixValue, facts: Facts) -> str:
    from sweeper.remedies import all_remedies

    if facts.steps < 2 * FEWEST:
        return f"the program makes {facts.steps} steps only"
    return all_remedies()["batch_size"].refusal(facts)


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import all_remedies

    assert session.facts is not None
    all_remedies()["batch_size"].apply(session, _size(value, session.facts))


def effect(value: FixValue, record: RunRecord) -> str:
    size = int(record.outcome.applied.get("batch_size", {}).get("size", 0))
    counts = record.series("n")
    largest = float(counts[np.isfinite(counts)].max(initial=0.0))  # the last batch may be small
    return "" if 0 < size <= 1.01 * largest else f"at most {largest:g} samples a step, not {size}"


FAULT = Fault(
    name="huge_batch",
    summary="many times the samples a step, so that hardly any step is left",
    values="times the program's own batch, 2 to 1000 (default 64, at most all samples)",
    default=64.0,
    source="Keskar et al. 2017",
    causes=always(Cause.BATCH_TOO_LARGE),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=number("huge_batch", 2, 1000),
)
