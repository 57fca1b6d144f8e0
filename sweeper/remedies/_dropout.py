"""Where torch keeps dropout rates. Imports torch: child only."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from sweeper.remedies._surgery import every_module


def set_rate(roots: list[nn.Module], rate: float) -> list[nn.Module]:
    """Set every dropout module, and the own rate of attention and stacked recurrent modules; the
    changed ones."""
    changed: list[nn.Module] = []
    for module in every_module(roots):
        if isinstance(module, _DropoutNd):
            module.p = rate
            changed.append(module)
        elif isinstance(module, (nn.MultiheadAttention, nn.RNNBase)) and module.dropout > 0:
            module.dropout = rate
            changed.append(module)
    return changed


def rate_of(module: nn.Module) -> float:
    value = module.p if isinstance(module, _DropoutNd) else module.dropout
    assert isinstance(value, float)
    return value
