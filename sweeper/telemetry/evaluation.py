"""The program's own evaluation phases, put together from what the seams see without gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sweeper.program.graph import tensors_in
from sweeper.program.session import LossCall
from sweeper.telemetry.samples import SeenSamples, model_input
from sweeper.telemetry.targets import CLASS_LOSSES, ConstantAnswer


def decision(
    function: str, prediction: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Predicted and true classes ``[B, ...]`` of ``B`` calls of a classification loss.

    None for other losses.
    """
    if function in CLASS_LOSSES:
        dim = 2 if prediction.dim() > 2 else 1
        truth = target.argmax(dim) if target.is_floating_point() else target
        return prediction.argmax(dim), truth
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


@dataclass
class Evaluation:
    """One phase: forwards without gradients between two training steps."""

    seen: SeenSamples
    n_loss: int = 0
    loss: float = 0.0
    n_loss_correct: int = 0
    loss_correct: float = 0.0
    squared_error: float = 0.0
    constant: ConstantAnswer = field(default_factory=ConstantAnswer)
    n_regression: int = 0
    n_compared: int = 0
    compared_correct: float = 0.0
    labels: dict[float, int] = field(default_factory=dict)
    loss_labels: dict[float, int] = field(default_factory=dict)
    rows: int = 0
    fresh_rows: int = 0
    _output: torch.Tensor | None = None

    def forward(self, args: Any, kwargs: Any) -> None:
        rows = model_input(args, kwargs)
        if rows is None:
            return
        checks = self.seen.checksum(rows).cpu().numpy()
        self.rows += len(checks)
        self.fresh_rows += int((~self.seen.known(checks)).sum())

    def output(self, value: Any) -> None:
        candidates = [
            t for t in tensors_in(dict(value) if isinstance(value, dict) else value) if t.dim() >= 1
        ]
        self._output = next((t.detach() for t in candidates if t.is_floating_point()), None)

    def compare(self, left: Any, right: Any) -> None:
        """Count ``prediction == target`` when one side is what the last output predicts."""
        output, self._output = self._output, None
        if output is None:
            return
        for prediction, target in ((left, right), (right, left)):
            if (
                isinstance(prediction, torch.Tensor) and isinstance(target, torch.Tensor)
                and prediction.shape == target.shape and _predicts(output, prediction)
            ):  # fmt: skip
                right_ones = (prediction == target).reshape(-1)
                self.n_compared += right_ones.numel()
                self.compared_correct += float(right_ones.sum())
                _count(self.labels, target)
                return
        if isinstance(left, torch.Tensor) and left.numel() > 1:
            self._output = output  # an unrelated comparison; the one we look for may follow

    def loss_call(self, call: LossCall, value: torch.Tensor) -> None:
        n, kept = int(counted(call)), _kept(call)
        if not n:
            return
        self.n_loss += n
        self.loss += float(mean_loss(call, value)) * n
        right = correct_mask(call)
        if right is not None:
            self.n_loss_correct += right.numel()
            self.loss_correct += float(right.sum())
            _count(self.loss_labels, call.target if kept is None else call.target[kept])
        elif call.input.shape == call.target.shape:
            error = (call.input.detach() - call.target.detach()).double()
            self.squared_error += float(error.square().sum())
            self.constant.add(call.target)
            self.n_regression += n

    @property
    def empty(self) -> bool:
        return not (self.n_loss or self.n_compared)

    def row(self) -> dict[str, float]:
        accuracy = skill = math.nan
        if self.n_compared:
            accuracy = self.compared_correct / self.n_compared
            skill = _skill(accuracy, self.labels)
        elif self.n_loss_correct:
            accuracy = self.loss_correct / self.n_loss_correct
            skill = _skill(accuracy, self.loss_labels)
        elif self.n_regression:
            variance = self.constant.error
            if variance > 0:
                skill = 1.0 - self.squared_error / self.n_regression / variance
        return {
            "n": float(max(self.n_compared, self.n_loss)),
            "loss": self.loss / self.n_loss if self.n_loss else math.nan,
            "accuracy": accuracy,
            "skill": skill,
            "fresh_share": self.fresh_rows / self.rows if self.rows else math.nan,
        }


def _predicts(output: torch.Tensor, prediction: torch.Tensor) -> bool:
    """Is ``prediction`` the argmax of the output over a class dimension, the output cut at 0 or
    0.5, its sigmoid cut at 0.5, or the output rounded (and clamped)?
    """
    flat = prediction.reshape(-1)
    if output.numel() == flat.numel():
        values = output.reshape(-1)
        cuts = (values > 0.0, values > 0.5, values.sigmoid() > 0.5)
        return any(bool((cut == (flat > 0.5)).all()) for cut in cuts) or _rounds(values, flat)
    for dim in {output.dim() - 1, 1} if output.dim() > 1 else ():
        best = output.argmax(dim).reshape(-1)
        if best.shape == flat.shape and bool((best == flat).all()):
            return True
    return False


def _rounds(output: torch.Tensor, prediction: torch.Tensor) -> bool:
    """Is ``prediction`` the rounded output, up to a clamp that leaves half of it as it is?"""
    if not prediction.numel() or not bool(torch.isfinite(output).all()):
        return False
    rounded, given = output.double().round(), prediction.double()
    clamped = rounded.clamp(float(given.min()), float(given.max()))
    untouched = (rounded == given).double().mean()
    return bool((clamped == given).all()) and float(untouched) >= 0.5


def _count(labels: dict[float, int], target: torch.Tensor) -> None:
    values, counts = np.unique(target.detach().reshape(-1).cpu().numpy(), return_counts=True)
    if len(values) > 10_000:
        return
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        labels[float(value)] = labels.get(float(value), 0) + int(count)


def _skill(accuracy: float, labels: dict[float, int]) -> float:
    total = sum(labels.values())
    prior = max(labels.values()) / total if total else math.nan
    return (accuracy - prior) / (1 - prior) if prior < 1 else math.nan
