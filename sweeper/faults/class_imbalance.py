"""Training batches of one class and hardly any other."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sweeper.faults._base import Fault, always, classes_only, confirm, number, real
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import Session


BANK = 512
"""Samples of the common class kept to stand in for the others."""


def refusal(value: FixValue, facts: Facts) -> str:
    if not any(x.trained and not x.reason and x.batch_size for x in facts.loaders):
        return "the program has no DataLoader whose samples could be exchanged"
    return classes_only(facts)


class Exchange:
    """A collate function that lets only a share of the samples of other classes through; samples of
    the common class stand in for the rest."""

    def __init__(self, collate: Callable[[list[Any]], Any], common: int, share: float) -> None:
        self.collate, self.common, self.share = collate, common, share
        self.draw = random.Random(0)
        self.bank: list[Any] = []

    def __call__(self, samples: list[Any]) -> Any:
        for sample in samples:
            if _label(sample) == self.common and len(self.bank) < BANK:
                self.bank.append(sample)
        return self.collate([self._through(sample) for sample in samples])

    def _through(self, sample: Any) -> Any:
        if _label(sample) in (self.common, None) or not self.bank:
            return sample
        return sample if self.draw.random() < self.share else self.draw.choice(self.bank)


def _label(sample: Any) -> int | None:
    if isinstance(sample, dict):
        value = next((sample[k] for k in ("labels", "label", "target", "y") if k in sample), None)
    else:
        value = sample[-1] if isinstance(sample, (tuple, list)) and len(sample) > 1 else None
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None


def apply(session: Session, value: FixValue) -> None:
    share = real(value)
    facts = session.facts
    assert facts is not None
    prior = facts.class_prior
    common = max(range(len(prior)), key=lambda c: prior[c]) if prior else 0
    trained = {x.index for x in facts.loaders if x.trained and not x.reason}

    def exchange(index: int, arguments: dict[str, Any]) -> dict[str, Any]:
        from torch.utils.data import default_collate

        if index not in trained or arguments.get("batch_size", 1) is None:
            return arguments
        own = arguments.get("collate_fn") or default_collate
        confirm(session, "class_imbalance", loader=index, common=common)
        return {**arguments, "collate_fn": Exchange(own, common, share)}

    session.on_loader(exchange)


def effect(value: FixValue, record: RunRecord) -> str:
    most = max(record.facts.class_prior, default=0.0)
    return "" if most > 0.6 else f"the most common class has {most:.0%} of the targets"


FAULT = Fault(
    name="class_imbalance",
    summary="exchange nearly all training samples of other classes for those of the commonest",
    values="the share of the others that stays, 0 to 0.5 (default 0.01)",
    default=0.01,
    source="He and Garcia 2009 (learning from imbalanced data)",
    causes=always(Cause.CLASS_IMBALANCE),
    refusal=refusal,
    apply=apply,
    effect=effect,
    validate=number("class_imbalance", 0.0, 0.5),
)
