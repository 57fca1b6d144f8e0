"""Where torch keeps dropout rates. Imports torch: child only."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from sweeper.program._dropout_calls import rate_of, with_rate
from sweeper.remedies._layers import every_module
from sweeper.remedies._operation import Use


def places(roots: list[nn.Module]) -> list[tuple[nn.Module, str]]:
    """(module, attribute) of every rate: dropout modules, and the own rate of attention and stacked
    recurrent modules where they have one."""
    found: list[tuple[nn.Module, str]] = []
    for module in every_module(roots):
        if isinstance(module, _DropoutNd):
            found.append((module, "p"))
        elif isinstance(module, (nn.MultiheadAttention, nn.RNNBase)) and module.dropout > 0:
            found.append((module, "dropout"))
    return found


def set_rate(roots: list[nn.Module], rate: float) -> list[nn.Module]:
    """Set every rate that modules hold; the changed modules."""
    found = places(roots)
    for module, name in found:
        setattr(module, name, rate)
    return [module for module, _ in found]


class Rated:
    """Stands around functions that drop: while they do, with the new rate."""

    def __init__(self, rate: float) -> None:
        self.rate, self.use = rate, Use()

    def __call__(self, name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        if rate_of(name, args, kwargs) > 0:
            self.use.hit()
            args, kwargs = with_rate(name, args, kwargs, self.rate)
        return function(*args, **kwargs)
