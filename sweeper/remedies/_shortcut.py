"""Shortcuts that the residual remedy puts around layers and their activations. Imports torch: child
only.

A layer's hook leaves its input on its output tensor; the activation that gets this very tensor adds
it. So the shortcut spans exactly the layers whose output goes straight into an activation, and a
sum in between (a recurrent cell) or a pooling leaves the layer as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sweeper.remedies._surgery import Counted

MARK = "_sweeper_shortcut"


class Marked(Counted):
    """Forward hook of a layer: its input travels with its output; counted when an activation adds
    it."""

    def __call__(self, layer: nn.Module, args: Any, output: torch.Tensor) -> None:
        if args and isinstance(args[0], torch.Tensor) and args[0].shape == output.shape:
            setattr(output, MARK, (args[0], self))


class Added(Counted):
    """Forward hook of a layer that meets no activation: output + input."""

    def __call__(self, layer: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        if not args or not isinstance(args[0], torch.Tensor) or args[0].shape != output.shape:
            return output
        self.calls += 1
        return output + args[0]


def add_to_activated(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:
    """Forward hook of an activation module: add what travels with its input."""
    return _added(args[0], output) if args else None


class ActivatedCall:
    """Stands in for an activation called as a function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.function = function

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        output = self.function(input)
        added = _added(input, output)
        return output if added is None else added


def _added(input: torch.Tensor, output: torch.Tensor) -> torch.Tensor | None:
    marked = getattr(input, MARK, None)
    if marked is None:
        return None
    shortcut, mark = marked
    mark.calls += 1
    result: torch.Tensor = output + shortcut
    return result


def function_named(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The activation of a canonical name with torch's default arguments."""
    found: Callable[[torch.Tensor], torch.Tensor] = getattr(torch, name, None) or getattr(F, name)
    return found


def keeps_shape(layer: nn.Module) -> bool:
    """As many features out as in, and no stride."""
    if isinstance(layer, nn.Linear):
        return layer.in_features == layer.out_features
    stride = layer.stride
    assert isinstance(stride, tuple)
    return layer.in_channels == layer.out_channels and all(s == 1 for s in stride)
