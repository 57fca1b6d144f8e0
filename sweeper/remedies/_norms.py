"""Normalisations that surgery puts behind layers and before models. Imports torch: child only."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parameter import is_lazy

from sweeper.remedies._layers import every_module, is_linear, spatial, widths
from sweeper.remedies._shortcut import carry_shortcut

NAME = "sweeper_norm"
"""Of the submodule inside the layer whose output it normalises."""
MOMENTUM = 0.1
EPS = 1e-5


def norm_for(layer: nn.Module, kind: str) -> nn.Module:
    """A normalisation of the layer's output, on its device and in its precision: over the last
    dimension of a Linear, over the channels of a conv."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    # Weights of few bits are packed into integers; their layers compute in floats.
    dtype = weight.dtype if weight.is_floating_point() else torch.get_default_dtype()
    like: dict[str, Any] = {"device": weight.device, "dtype": dtype}
    width = widths(layer)[1]
    if is_linear(layer):
        return (nn.BatchNorm1d if kind == "batch" else nn.LayerNorm)(width, **like)
    if kind == "layer":
        return nn.GroupNorm(1, width, **like)
    return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[spatial(layer) - 1](width, **like)


class NormBehind:
    """Forward hook: the layer's output through its ``sweeper_norm``, in the precision it had.

    Batch statistics of a Linear's output [..., features] are taken over all its other dimensions,
    as BatchNorm1d does for [batch, features, positions].
    """

    def __init__(self, layer: nn.Module) -> None:
        self.dims = 0 if is_linear(layer) else spatial(layer) + 2

    def __call__(self, layer: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        norm = getattr(layer, NAME)
        if not self.dims:
            rows = output.reshape(-1, output.shape[-1])
            result = _norm(norm, rows).reshape(output.shape)
        elif output.dim() < self.dims:  # a conv called without a batch dimension
            result = _norm(norm, output.unsqueeze(0)).squeeze(0)
        else:
            result = _norm(norm, output)
        return carry_shortcut(output, result.to(output.dtype))


def _norm(norm: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """A single value per channel has no batch statistics: the running ones stand in, nothing
    crashes."""
    alone = values.numel() <= max(values.shape[1], 1)
    if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training and alone:
        norm.eval()
        try:
            return norm(values)  # type: ignore[no-any-return]
        finally:
            norm.train()
    return norm(values)  # type: ignore[no-any-return]


def batch_norms(roots: list[nn.Module]) -> list[nn.Module]:
    """The model's own batch normalisations, each once, whose widths are known."""
    kind = nn.modules.batchnorm._BatchNorm
    return [
        m
        for m in every_module(roots)
        if isinstance(m, kind) and not any(is_lazy(p) for p in m.parameters())
    ]


def layer_norm_like(norm: nn.Module) -> nn.Module:
    """A layer normalisation over channels and positions with the settings of a batch
    normalisation."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    return nn.GroupNorm(1, norm.num_features, eps=norm.eps, affine=norm.affine)


class InputNorm:
    """Batch normalisation of input features without parameters; running statistics outside
    training.

    A first call outside training, which has no running statistics yet, uses its own.
    """

    def __init__(self) -> None:
        self.mean: torch.Tensor | None = None
        self.variance: torch.Tensor | None = None

    def __call__(self, rows: torch.Tensor, training: bool) -> torch.Tensor:
        fresh = self.mean is None or self.mean.shape[0] != rows.shape[1]
        if fresh and not training:
            return F.batch_norm(rows, None, None, training=True, eps=EPS) if len(rows) > 1 else rows
        if fresh:
            self.mean = torch.zeros_like(rows[0]).detach()
            self.variance = torch.ones_like(rows[0]).detach()
        use_batch = training and len(rows) > 1
        # From the first batch on the running values are means of what was seen, not pulled to 0 and
        # 1.
        momentum = 1.0 if fresh and use_batch else MOMENTUM
        return F.batch_norm(
            rows, self.mean, self.variance, training=use_batch, momentum=momentum, eps=EPS
        )
