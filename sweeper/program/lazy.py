"""Lazy layers: their shapes are known after the first forward only, too late for surgery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy


def elements(module: nn.Module) -> int:
    """Number of elements of a module's parameters; those without a shape yet count none."""
    return sum(p.numel() for p in module.parameters() if not is_lazy(p))


def give_shapes(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Run the forward once ahead, where the module has lazy parameters.

    In eval mode and without gradients: no dropout draws, no batch statistics move. What the layers
    draw for their first weights is what they would have drawn in the program's own forward.
    """
    if not any(is_lazy(p) for p in module.parameters()):
        return
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            module(*args, **kwargs)
    finally:
        for part, training in modes:
            part.training = training
