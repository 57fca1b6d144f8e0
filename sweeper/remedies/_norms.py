"""Normalisations that surgery puts behind layers and before models. Imports torch: child only."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sweeper.remedies._surgery import Counted, every_module

NAME = "sweeper_norm"
"""Of the submodule inside the layer whose output it normalises."""
MOMENTUM = 0.1
EPS = 1e-5


def norm_for(layer: nn.Module, kind: str) -> nn.Module:
    """A normalisation of the layer's output: over the last dimension of a Linear, the channels of a
    conv."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    like: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    if isinstance(layer, nn.Linear):
        make = nn.BatchNorm1d if kind == "batch" else nn.LayerNorm
        return make(layer.out_features, **like)
    channels = layer.out_channels
    assert isinstance(channels, int)
    if kind == "layer":
        return nn.GroupNorm(1, channels, **like)
    return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[_spatial(layer) - 1](channels, **like)


def _spatial(conv: nn.Module) -> int:
    kernel = conv.kernel_size
    assert isinstance(kernel, tuple)
    return len(kernel)


class NormBehind(Counted):
    """Forward hook: the layer's output through its ``sweeper_norm``."""

    def __init__(self, layer: nn.Module) -> None:
        self.channels_at = -1 if isinstance(layer, nn.Linear) else 1
        self.dims = 0 if isinstance(layer, nn.Linear) else _spatial(layer) + 2

    def __call__(self, layer: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        norm = getattr(layer, NAME)
        if self.channels_at == -1:
            rows = output.reshape(-1, output.shape[-1])
            return self._norm(norm, rows).reshape(output.shape)
        if output.dim() < self.dims:  # a conv called without a batch dimension
            return self._norm(norm, output.unsqueeze(0)).squeeze(0)
        return self._norm(norm, output)

    @staticmethod
    def _norm(norm: nn.Module, values: torch.Tensor) -> torch.Tensor:
        """A single value per channel has no batch statistics: the running ones stand in, nothing
        crashes."""
        per_channel = values.numel() // max(values.shape[1], 1)
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training and per_channel == 1:
            return F.batch_norm(
                values,
                norm.running_mean,
                norm.running_var,
                norm.weight,
                norm.bias,
                False,
                0.0,
                norm.eps,
            )
        result: torch.Tensor = norm(values)
        return result


def batch_norms(roots: list[nn.Module]) -> list[nn.Module]:
    """The model's own batch normalisations, each once."""
    return [m for m in every_module(roots) if isinstance(m, nn.modules.batchnorm._BatchNorm)]


class LayerInstead(Counted):
    """The forward of a batch normalisation as a layer normalisation over channels and positions."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        norm = self.module
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        return F.group_norm(values, 1, norm.weight, norm.bias, norm.eps)


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
