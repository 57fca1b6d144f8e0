"""Per-layer gradient, weight and update norms at sampled steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

MAX_ELEMENTS = 65_536
"""Elements copied per tensor for the update norm: larger tensors are sampled by stride.
Memory stays small and the ratio update/weight is estimated on equal elements."""


class LayerSampler:
    """Watches parameter tensors of two or more dimensions."""

    def __init__(self, parameters: Sequence[tuple[str, torch.Tensor]]) -> None:
        self.names = [name for name, _ in parameters]
        self.parameters: list[torch.Tensor] = [parameter for _, parameter in parameters]
        self._before: list[torch.Tensor] = []
        self._row: dict[str, list[torch.Tensor]] = {}

    def before(self, clip_factor: Any, optimizer: torch.optim.Optimizer) -> None:
        """Take gradient and weight norms, and copies to measure the real update.

        Args:
            clip_factor: norm after / before the program's clip,
                to undo it in the reported gradient norms.
            optimizer: for Adam's second moments.
        """
        nan = torch.tensor(math.nan)
        gradients, weights, below = [], [], []
        self._before = []
        for parameter in self.parameters:
            gradient = parameter.grad
            if gradient is None:
                gradients.append(nan)
            else:
                if gradient.is_sparse:
                    gradient = gradient.coalesce().values()
                gradients.append(gradient.detach().float().norm() / clip_factor)
            weights.append(parameter.detach().float().norm())
            self._before.append(_subset(parameter.detach()).clone())
            below.append(_below_eps(optimizer, parameter))
        self._row = {"grad_norm": gradients, "weight_norm": weights, "adam_below_eps": below}

    def after(self) -> dict[str, list[float]]:
        """Columns of the sampled step: ``[L]`` each, and the first layer's signed update sum."""
        updates, first = [], torch.zeros(())
        for index, (parameter, before) in enumerate(
            zip(self.parameters, self._before, strict=True)
        ):
            change = (_subset(parameter.detach()) - before).float()
            scale = parameter.numel() / max(1, change.numel())
            updates.append(change.norm() * math.sqrt(scale))
            if index == 0:
                first = change.sum() * scale
        self._before = []
        row = {**self._row, "update_norm": updates}
        out = {name: _fetch(values) for name, values in row.items()}
        out["first_update_sum"] = _fetch([first])
        return out


def _subset(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.reshape(-1)
    return flat if flat.numel() <= MAX_ELEMENTS else flat[:: math.ceil(flat.numel() / MAX_ELEMENTS)]


def _below_eps(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    """Share of entries with sqrt(vhat) < 10 eps: Adam's step is damped there, not normalised."""
    state = optimizer.state.get(parameter, {})
    second = state.get("exp_avg_sq")
    group = optimizer.param_groups[0]
    if (
        not isinstance(second, torch.Tensor)
        or second.shape != parameter.shape
        or "eps" not in group
    ):
        return torch.tensor(math.nan)
    beta2 = float(group["betas"][1]) if "betas" in group else 0.999
    count = max(1.0, float(state.get("step", 1)))
    corrected = _subset(second).float() / (1 - beta2**count)
    below: torch.Tensor = corrected.sqrt() < 10 * float(group["eps"])
    return below.float().mean()


def _fetch(values: list[torch.Tensor]) -> list[float]:
    device = next((v.device for v in values if v.device.type != "cpu"), torch.device("cpu"))
    numbers: list[float] = torch.stack([v.to(device, torch.float64) for v in values]).tolist()
    return numbers
