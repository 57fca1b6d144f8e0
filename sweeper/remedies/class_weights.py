"""Weigh each class by the inverse of its share, so that the rare ones count."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy, just_on, no_space
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import LossCall, Session

INDEXED = ("cross_entropy", "nll_loss")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
BALANCED = 1.5
"""Largest over smallest share below which classes count as balanced."""


def refusal(facts: Facts) -> str:
    if facts.loss_function not in (*INDEXED, *BINARY):
        name = facts.loss_function or "not known"
        return f"class weights need a classification loss; the loss is {name}"
    if facts.task == "language_model":
        return "the classes are the tokens of a language model"
    shares = [p for p in facts.class_prior if p > 0]
    if len(shares) < 2:
        return "the shares of the classes are not known"
    if max(shares) / min(shares) < BALANCED:
        return f"the classes are balanced: shares from {min(shares):.2f} to {max(shares):.2f}"
    if facts.loss_function in BINARY and len(facts.class_prior) != 2:
        return "the targets are several independent labels"
    return ""


def weights(prior: tuple[float, ...], width: int) -> list[float]:
    """1 / (K share), as scikit-learn's ``balanced``: the mean weight over samples is 1; 1 for
    unseen classes."""
    seen = sum(p > 0 for p in prior)
    known = [1.0 / (seen * p) if p > 0 else 1.0 for p in prior]
    return (known + [1.0] * width)[:width]


def apply(session: Session, value: FixValue) -> None:
    prior = session.facts.class_prior if session.facts is not None else ()
    calls = 0

    def weigh(call: LossCall) -> LossCall:
        nonlocal calls
        if call.function not in (*INDEXED, *BINARY) or not call.input.requires_grad:
            return call
        if any(call.options.get(key) is not None for key in ("weight", "pos_weight")):
            session.refuse("class_weights", "the program weighs its classes already")
        options = _options(call, prior)
        if options is None:
            return call
        calls += 1
        if calls <= 3:
            session.confirm("class_weights", calls=calls)
        return dataclasses.replace(call, options={**call.options, **options})

    session.on_loss(weigh)


def _options(call: LossCall, prior: tuple[float, ...]) -> dict[str, torch.Tensor] | None:
    """The weight argument for this call; None when the call is about other classes."""
    import torch

    if call.function in INDEXED:
        width = call.input.shape[1] if call.input.dim() > 1 else call.input.shape[0]
        if width < len(prior):
            return None
        dtype = call.input.dtype if call.input.dtype == torch.float64 else torch.float32
        return {
            "weight": torch.tensor(weights(prior, width), device=call.input.device, dtype=dtype)
        }
    negative, positive = weights(prior, 2)
    if call.target.is_floating_point():
        weight = call.target.detach() * (positive - negative) + negative
        return {"weight": weight}
    return None


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(record, "class_weights", "calls", "loss was weighted")


def advice(value: FixValue, facts: Facts) -> str:
    shown = ", ".join(f"{w:.3g}" for w in weights(facts.class_prior, len(facts.class_prior)))
    if facts.loss_function in BINARY and len(facts.class_prior) == 2:
        ratio = facts.class_prior[0] / max(facts.class_prior[1], 1e-12)
        return f"nn.BCEWithLogitsLoss(pos_weight=torch.tensor({ratio:.3g}))"
    return f"nn.CrossEntropyLoss(weight=torch.tensor([{shown}]))"


REMEDY = Remedy(
    name="class_weights",
    summary="weigh each class by the inverse of its share",
    source="King and Zeng 2001; scikit-learn's class_weight='balanced'",
    treats=(Cause.CLASS_IMBALANCE,),
    structural=False,
    space=no_space,
    refusal=refusal,
    suggest=just_on,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=_values.flag("class_weights"),
)
