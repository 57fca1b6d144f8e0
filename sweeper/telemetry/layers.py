"""Gradient norms of every step; per-layer gradient, weight and update norms at sampled ones."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch

from sweeper.telemetry.buffer import fetch

MAX_ELEMENTS = 65_536
"""Elements copied per tensor for the update norm: larger tensors are sampled by stride.
Memory stays small and the ratio update/weight is estimated on equal elements."""
MAX_MOMENTS = 4096
"""Entries looked at for the share below Adam's eps: its standard error is 0.008 at most."""


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
        kept = [_values(p.grad) if p.grad is not None else None for p in self.parameters]
        norms = iter(_norms([g for g in kept if g is not None]))
        gradients = [
            torch.full((), math.nan, device=p.device) if g is None else next(norms)
            for p, g in zip(self.parameters, kept, strict=True)
        ]
        if isinstance(clip_factor, torch.Tensor) or clip_factor != 1:
            gradients = [g / clip_factor for g in gradients]
        weights = [p.detach() for p in self.parameters]
        self._before = [_subset(w).clone() for w in weights]
        self._row = {
            "grad_norm": gradients, "weight_norm": _norms(weights),
            "adam_below_eps": [_below_eps(optimizer, p) for p in self.parameters],
        }  # fmt: skip

    def after(self) -> dict[str, list[float]]:
        """Columns of the sampled step: ``[L]`` each, and the first layer's signed update sum."""
        for parameter, before in zip(self.parameters, self._before, strict=True):
            before.sub_(_subset(parameter.detach()))  # the change with its sign turned
        updates, first = _norms(self._before), -self._before[0].float().sum()
        for index, (parameter, before) in enumerate(
            zip(self.parameters, self._before, strict=True)
        ):
            if (scale := parameter.numel() / max(1, before.numel())) != 1:
                updates[index] = updates[index] * math.sqrt(scale)
                first = first if index else first * scale
        self._before = []
        columns = {**self._row, "update_norm": updates, "first_update_sum": [first]}
        numbers = iter(fetch([value for column in columns.values() for value in column]))
        return {name: [next(numbers) for _ in column] for name, column in columns.items()}


def _norms(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """2-norm of each in single precision; in one call where nothing has to be converted for it."""
    if tensors and all(t.dtype is torch.float32 for t in tensors):
        with contextlib.suppress(RuntimeError, NotImplementedError):  # on several devices
            norms: list[torch.Tensor] = [*torch._foreach_norm([*tensors])]
            return norms
    return [t.float().norm() for t in tensors]


def _values(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient.detach()


def _subset(tensor: torch.Tensor, most: int = MAX_ELEMENTS) -> torch.Tensor:
    flat = tensor.reshape(-1)
    return flat if flat.numel() <= most else flat[:: math.ceil(flat.numel() / most)]


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
    corrected = _subset(second, MAX_MOMENTS).float() / (1 - beta2**count)
    below: torch.Tensor = corrected.sqrt() < 10 * float(group["eps"])
    return below.float().mean()
