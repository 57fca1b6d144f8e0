"""Where functions of torch take a dropout rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DROPOUT_CALLS = (
    "dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout",
    "feature_dropout",
)  # fmt: skip
"""Functions of (input, p, training)."""
ATTENTION_CALL = "scaled_dot_product_attention"
RATED_CALLS = (*DROPOUT_CALLS, ATTENTION_CALL)


def _place(called: str) -> tuple[int, str, float]:
    """Position, name and default of the rate."""
    return (4, "dropout_p", 0.0) if called == ATTENTION_CALL else (1, "p", 0.5)


def rate_of(called: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float:
    """The rate with which a call drops; 0 for any other function and outside training."""
    if called not in RATED_CALLS:
        return 0.0
    if called != ATTENTION_CALL:
        training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", True))
        if not training:
            return 0.0
    position, name, default = _place(called)
    return float(args[position] if len(args) > position else kwargs.get(name, default))


def with_rate(
    called: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], rate: float
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with another rate."""
    position, name, _ = _place(called)
    if len(args) > position:
        return (*args[:position], rate, *args[position + 1 :]), dict(kwargs)
    return args, {**kwargs, name: rate}
