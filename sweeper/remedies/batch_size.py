"""More or fewer samples per optimizer step: through the loader, or by accumulation where there is
none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, LoaderFact, RunRecord

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from sweeper.program.session import Session

HARD = (1, 1 << 20)
LARGEST_SHARE = 8
"""At least so many steps per pass over the data stay."""


def validate(value: FixValue) -> FixValue:
    full = _values.fields("batch_size", value, "batch_size", {})
    return _values.integer("batch_size", full["batch_size"], *HARD)


def _loaders(facts: Facts) -> list[LoaderFact]:
    """The training loaders whose batch size can be changed."""
    return [x for x in facts.loaders if x.trained and not x.reason and x.batch_size]


def own_size(facts: Facts) -> int:
    """What the value is compared with: the loader's batch, or the samples per step without a
    loader."""
    loaders = _loaders(facts)
    return int(loaders[0].batch_size or 0) if loaders else facts.batch_size


def _largest(facts: Facts) -> int:
    samples = min((x.n_samples for x in _loaders(facts) if x.n_samples), default=0)
    limit = samples // LARGEST_SHARE if samples else 16 * own_size(facts)
    return max(own_size(facts), min(1024, limit))


def space(facts: Facts) -> Mapping[str, Dimension]:
    own = own_size(facts)
    if not _loaders(facts):
        sizes = tuple(own * k for k in (2, 4, 8, 16))
        return {"batch_size": Dimension(kind="choice", choices=sizes)}
    low = max(2, own // 16) if own > 2 else 2
    return {
        "batch_size": Dimension(
            kind="int",
            low=low,
            high=max(low + 1, _largest(facts)),
            log=True,
            hard_low=HARD[0],
            hard_high=HARD[1],
        )
    }


def refusal(facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    if _loaders(facts):
        return ""
    trained = [x for x in facts.loaders if x.trained]
    why = next((x.reason for x in trained if x.reason), "")
    why = why or (
        "its training loader has no batch size of its own"
        if trained
        else "the program slices tensors itself and builds no DataLoader"
    )
    if not facts.batch_size:
        return f"{why}, and the size of its batches is not known"
    if facts.with_closure:
        return f"{why}, and the gradients of a closure come inside of the step"
    return ""


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    """At least 32, else fourfold and sixteenfold; fewer samples where the batch is blamed as too
    large.

    Masters and Luschi 2018 find batches of 2 to 32 best; batch statistics need 16 and more.
    """
    own = max(1, own_size(facts))
    if _hints.belief(diagnosis, Cause.BATCH_TOO_LARGE) > _hints.belief(
        diagnosis, Cause.BATCH_TOO_SMALL
    ):
        sizes = [own // 4, own // 16] if _loaders(facts) else [own * 4]
    else:
        sizes = [max(own * 4, 32), own * 16]
    limit = _largest(facts) if _loaders(facts) else own * 16
    if not _loaders(facts):
        sizes = [own * max(2, round(size / own)) for size in sizes]
    kept = [s for s in dict.fromkeys(min(max(2, s), limit) for s in sizes) if s != own]
    return tuple(kept) or (own * 2,)


def apply(session: Session, value: FixValue) -> None:
    size = int(_values.real(value))
    facts = session.facts
    if facts is not None and not _loaders(facts):
        _accumulate(session, size, facts)
        return
    wanted = {x.index for x in _loaders(facts)} if facts is not None else None

    def change(index: int, arguments: dict[str, Any]) -> dict[str, Any]:
        own = arguments.get("batch_size", 1)
        custom = arguments.get("batch_sampler") is not None or own is None
        if (wanted is not None and index not in wanted) or custom:
            return arguments
        session.confirm("batch_size", loader=index, size=size, program_size=int(own))
        return {**arguments, "batch_size": size}

    session.on_loader(change)


def _accumulate(session: Session, size: int, facts: Facts) -> None:
    own = facts.batch_size
    factor = size // own if own else 0
    if factor < 2 or factor * own != size:
        session.refuse(
            "batch_size",
            f"{refusal_of_loader(facts)}: only whole multiples of its {own} samples can be"
            f" accumulated, got {size}",
        )
    session.confirm("batch_size", accumulate=factor, size=size, program_size=own)

    def prepare(optimizer: Optimizer) -> None:
        from sweeper.remedies._accumulate import accumulate

        accumulate(session, optimizer, factor, mean=facts.loss_reduction != "sum")

    session.on_optimizer(prepare)


def refusal_of_loader(facts: Facts) -> str:
    """Why no loader can be changed."""
    reasons = [x.reason for x in facts.loaders if x.trained and x.reason]
    return reasons[0] if reasons else "the program builds no DataLoader that trains"


def effect(value: FixValue, record: RunRecord) -> str:
    """The usual number of samples per step is the value, or a multiple (accumulation, tokens of a
    text)."""
    size = int(_values.real(value))
    seen = _hints.evidence(record, "batch_size")
    if not seen:
        return "no training loader was built with the new size"
    counts = _hints.finite(record.series("n"))
    counts = counts[counts > 0]
    if len(counts) == 0:
        return "" if "loader" in seen else "no step was made"
    usual = float(np.max(counts)) if len(counts) < 3 else float(np.median(counts))
    ratio = usual / size
    if ratio >= 0.99 and abs(ratio - round(ratio)) <= 0.02 * ratio:
        return ""
    return f"{usual:g} samples per step were seen, not {size}"


def advice(value: FixValue, facts: Facts) -> str:
    size = int(_values.real(value))
    if facts.loaders and _loaders(facts):
        return f"DataLoader(..., batch_size={size})"
    every = max(1, size // max(1, facts.batch_size))
    return f"batch_size = {size}  # was {facts.batch_size}; or step only every {every} batches"


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    size, own = int(_values.real(value)), own_size(facts)
    if not _loaders(facts):
        half = size // 2
        return (half,) if own and half > own and half % own == 0 else ()
    return tuple(max(1, round(v)) for v in _values.between(float(size), float(own)))


REMEDY = Remedy(
    name="batch_size",
    summary="samples per optimizer step: the loader's batch size, or accumulation without one",
    source="Masters and Luschi 2018 (arXiv 1804.07612); Ioffe and Szegedy 2015",
    treats=(Cause.BATCH_TOO_SMALL, Cause.BATCH_TOO_LARGE),
    structural=False,
    space=space,
    refusal=refusal,
    suggest=suggest,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=validate,
    toward_baseline=toward_baseline,
)
