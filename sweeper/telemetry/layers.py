"""Gradient norms of every step; per-layer gradient, weight and update norms at sampled ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from sweeper.telemetry.buffer import fetch

MAX_ELEMENTS = 65_536
"""Elements copied per tensor for the update norm: larger tensors are sampled by stride.
Memory stays small and the ratio update/weight is estimated on equal elements."""


def global_norm(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """2-norm of all gradients of an optimizer; nothing is waited for (sparse ones excepted: only a
    coalesced gradient has a norm)."""
    gradients = [
        g for group in optimizer.param_groups for p in group["params"] if (g := p.grad) is not None
    ]
    if not gradients:
        return torch.zeros(())
    try:  # what get_total_norm does, without its sorting by device and type
        norms = torch.stack(torch._foreach_norm(gradients, 2.0))
        total: torch.Tensor = torch.linalg.vector_norm(norms, 2.0)
        return total
    except (RuntimeError, NotImplementedError):  # sparse, or on several devices
        dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        return torch.nn.utils.get_total_norm(dense, 2.0)


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
        gradients, weights, below = [], [], []
        self._before = []
        for parameter in self.parameters:
            gradient = parameter.grad
            if gradient is None:
                gradients.append(torch.full((), math.nan, device=parameter.device))
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
        columns = {**self._row, "update_norm": updates, "first_update_sum": [first]}
        numbers = iter(fetch([value for column in columns.values() for value in column]))
        return {name: [next(numbers) for _ in column] for name, column in columns.items()}


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
        return torch.full((), math.nan, device=parameter.device)
    beta2 = float(group["betas"][1]) if "betas" in group else 0.999
    count = max(1.0, float(state.get("step", 1)))
    corrected = _subset(second).float() / (1 - beta2**count)
    below: torch.Tensor = corrected.sqrt() < 10 * float(group["eps"])
    return below.float().mean()
