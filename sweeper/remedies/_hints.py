"""Small readings of facts, diagnoses and run records that several remedies share. No torch here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sweeper.types import Cause, Diagnosis, Facts, LayerFact, RunRecord

HIDDEN_KINDS = ("Linear", "Conv1D", *(f"Conv{t}{n}d" for t in ("", "Transpose") for n in (1, 2, 3)))
"""Layers that surgery operates on; subclasses are told by their class name here and by type in the
child."""


def belief(diagnosis: Diagnosis, *causes: Cause) -> float:
    """The strongest belief among ``causes``, 0 when none was blamed."""
    return max((h.belief for h in diagnosis.hypotheses if h.cause in causes), default=0.0)


def optimizer_name(facts: Facts) -> str:
    """Class name of the first optimizer, lower case, ``sgd_momentum`` for SGD with it; or empty."""
    if not facts.optimizers:
        return ""
    name = facts.optimizers[0].name.lower()
    return "sgd_momentum" if name == "sgd" and facts.optimizers[0].momentum > 0 else name


def peak_rate(facts: Facts) -> float:
    """Largest learning rate of the first group of the first optimizer; NaN when unknown."""
    rates = [r for r in facts.optimizers[0].peak_lr[:1] if r > 0] if facts.optimizers else []
    return rates[0] if rates and math.isfinite(rates[0]) else math.nan


def without_rate(facts: Facts) -> str:
    """Why there is no learning rate to set, or empty."""
    if not facts.optimizers:
        return "the program built no optimizer"
    first = facts.optimizers[0]
    if first.steps and math.isnan(first.first_lr):
        return f"{first.name} finds its step sizes without a learning rate"
    return ""


def operable(layer: LayerFact) -> bool:
    """A Linear or conv layer outside attention."""
    return any(layer.kind.endswith(kind) for kind in HIDDEN_KINDS) and not layer.in_attention


def hidden_layers(facts: Facts) -> list[LayerFact]:
    """Linear and conv layers that may take a normalisation or a shortcut.

    Not the head, not inside attention, not already normalised. Where some of them meet an
    activation next, only those: what meets none ends a residual branch or feeds another block, and
    has no "before its activation".
    """
    layers = [
        layer
        for layer in facts.layers
        if operable(layer) and not layer.is_output and layer.followed_by != "norm"
    ]
    return [layer for layer in layers if layer.followed_by] or layers


def integer_inputs(facts: Facts) -> str:
    """Why the inputs are not numbers to be scaled, or empty."""
    if not facts.input_dtype:
        return "no model is called with a tensor of the data"
    if facts.input_dtype and not any(k in facts.input_dtype for k in ("float", "half")):
        return f"the model's inputs are {facts.input_dtype}, such as token ids, not measurements"
    return ""


def evidence(record: RunRecord, remedy: str) -> dict[str, Any]:
    """What the remedy confirmed about itself in this run; empty when it said nothing."""
    return dict(record.outcome.applied.get(remedy, {}))


def count_effect(record: RunRecord, remedy: str, key: str, what: str) -> str:
    """Why ``key`` of the evidence is not positive, or empty."""
    if int(evidence(record, remedy).get(key, 0)) > 0:
        return ""
    return f"no {what} in {record.outcome.steps} steps"


def places_effect(record: RunRecord, remedy: str, what: str) -> str:
    """Why not every changed place was called before the first step, or empty."""
    seen = evidence(record, remedy)
    places, called = int(seen.get("places", 0)), int(seen.get("called", 0))
    return "" if places and called == places else f"{called} of {places} {what} were called"


def finite(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The finite entries of a series [T]."""
    result: np.ndarray[Any, Any] = values[np.isfinite(values)]
    return result
