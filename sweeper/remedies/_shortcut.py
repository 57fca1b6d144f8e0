"""Shortcuts that the residual remedy puts around layers and their activations. Imports torch: child
only.

A layer's hook leaves its input on its output tensor; the activation that gets this very tensor adds
it. So the shortcut spans exactly the layers whose output goes straight into an activation, through
normalisation and dropout where there are any; a sum in between (a recurrent cell) or a pooling
leaves the layer as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from sweeper.remedies._layers import CONVS, NORMS, widths
from sweeper.remedies._operation import Use

MARK = "_sweeper_shortcut"
CARRIERS = (*NORMS, _DropoutNd, nn.Identity)
"""Modules through which a shortcut reaches the activation."""


class Marked:
    """Forward hook of a layer: its input travels with its output."""

    def __init__(self, share: float = 1.0) -> None:
        self.use = Use()
        self.share = share  # of the activation, beside the whole input

    def __call__(self, layer: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        if args and isinstance(args[0], torch.Tensor) and args[0].shape == output.shape:
            setattr(output, MARK, (args[0], self))
        return output

    def __getstate__(self) -> dict[str, Any]:
        return {"share": self.share}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.use, self.share = Use(), state["share"]


class Added(Marked):
    """Forward hook of a layer that meets no activation: output + input."""

    def __call__(self, layer: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        marked = super().__call__(layer, args, output)
        return add_shortcut(marked, output)


def add_behind(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    """Forward hook of an activation module: add what travels with its input."""
    return add_shortcut(args[0], output) if args else output


def carry_behind(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    """Forward hook of a module in between: what travels with its input travels on."""
    return carry_shortcut(args[0], output) if args else output


def carry_through(name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
    """The same around a called function of one tensor."""
    given = args[0] if args else kwargs.get("input")
    output: torch.Tensor = function(*args, **kwargs)
    return carry_shortcut(given, output)


def carry_shortcut(given: Any, output: torch.Tensor) -> torch.Tensor:
    if (marked := getattr(given, MARK, None)) is not None and given.shape == output.shape:
        setattr(output, MARK, marked)
    return output


def add_shortcut(given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The share of the output of an activation plus what travels with its input; in the output's
    precision."""
    marked: tuple[torch.Tensor, Marked] | None = getattr(given, MARK, None)
    if marked is None or marked[0].shape != output.shape:
        return output
    shortcut, mark = marked
    mark.use.hit()
    branch = output if mark.share == 1.0 else output * mark.share
    return branch + shortcut.to(output.dtype)


def keeps_shape(layer: nn.Module) -> bool:
    """As many features out as in, and no stride."""
    n_in, n_out = widths(layer)
    return n_in == n_out and (
        not isinstance(layer, CONVS) or all(step == 1 for step in layer.stride)
    )
