"""What one call of a loss function says: predicted and true classes, its mean, what it counts."""

from __future__ import annotations

import torch

from sweeper.program.session import LossCall
from sweeper.telemetry.targets import CLASS_LOSSES


def decision(
    function: str, prediction: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Predicted and true classes ``[B, ...]`` of ``B`` calls of a classification loss.

    None for other losses.
    """
    if function in CLASS_LOSSES:
        dim = 2 if prediction.dim() > 2 else 1
        truth = target.argmax(dim) if target.is_floating_point() else target
        return prediction.max(dim).indices, truth  # argmax is slower by up to five times
    if function.startswith("binary") and prediction.shape == target.shape:
        return prediction > (0.0 if function.endswith("logits") else 0.5), target > 0.5
    return None


def correct_mask(call: LossCall) -> torch.Tensor | None:
    """Which predictions of a classification loss call are right, ``[n]`` bool, ignored ones left
    out (a GPU is waited for).

    None for other losses.
    """
    decided = decision(call.function, call.input.detach()[None], call.target.detach()[None])
    if decided is None:
        return None
    right, kept = (decided[0] == decided[1])[0], _kept(call)
    return right.reshape(-1) if kept is None else right[kept]


def mean_loss(call: LossCall, value: torch.Tensor) -> torch.Tensor:
    """The mean over predictions, whatever the reduction was."""
    value = value.detach()
    if value.dim():
        return value.mean()
    if call.options.get("reduction", "mean") == "sum":
        return value / counted(call).clamp_min(1)
    return value


def counted(call: LossCall) -> torch.Tensor:
    """How many targets the loss is over, ignored ones left out; a number on the target's device."""
    kept = _kept(call)
    return torch.tensor(call.target.numel()) if kept is None else kept.sum()


def _kept(call: LossCall) -> torch.Tensor | None:
    """Which targets count, in their shape; None when all of them do."""
    ignored = call.options.get("ignore_index", -100)
    labels = call.function in CLASS_LOSSES and not call.target.is_floating_point()
    return call.target.detach() != ignored if labels and ignored is not None else None
