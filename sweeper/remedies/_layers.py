"""Which modules surgery may operate on, and what is where in them. Imports torch: child only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from sweeper.program.models import is_transposed_linear

CONVS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
)  # fmt: skip
NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm, nn.GroupNorm,
    nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip


def every_module(roots: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """All modules of all roots, each once."""
    seen: set[int] = set()
    for root in roots:
        for module in root.modules():
            if id(module) not in seen:
                seen.add(id(module))
                yield module


def inside_attention(roots: Iterable[nn.Module]) -> set[int]:
    """Ids of the modules within torch's attention, which reads weights without calling its
    parts."""
    return {
        id(part)
        for module in every_module(roots)
        if isinstance(module, nn.MultiheadAttention)
        for part in module.modules()
    }


def is_linear(module: nn.Module) -> bool:
    """Features are the last dimension of its input and output."""
    return isinstance(module, nn.Linear) or is_transposed_linear(module)


def is_layer(module: nn.Module) -> bool:
    return is_linear(module) or isinstance(module, CONVS)


def widths(layer: nn.Module) -> tuple[int, int]:
    """Features in and out of a Linear, channels in and out of a conv."""
    if is_transposed_linear(layer):
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        return int(weight.shape[0]), int(weight.shape[1])
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    assert isinstance(layer, CONVS)
    return layer.in_channels, layer.out_channels


def spatial(conv: nn.Module) -> int:
    """1, 2 or 3 for a Conv1d, 2d or 3d."""
    assert isinstance(conv, CONVS)
    return len(conv.kernel_size)


def frozen_ids(roots: Iterable[nn.Module]) -> set[int]:
    """Ids of the modules of which nothing is trained.

    What has no parameters, an activation, belongs to the nearest module around it that has some.
    """
    found: set[int] = set()

    def visit(module: nn.Module, outer: bool) -> None:
        parameters = list(module.parameters())
        frozen = not any(p.requires_grad for p in parameters) if parameters else outer
        if frozen:
            found.add(id(module))
        for child in module.children():
            visit(child, frozen)

    for root in roots:
        visit(root, False)
    return found
