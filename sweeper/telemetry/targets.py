"""What the training targets were, summed up while they pass by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from sweeper.program.session import LossCall

MANY_TARGETS = 4
"""A loss with at least so many targets per input row predicts sequences:
a language model when it classifies."""


MOST_OUTPUTS = 65_536
"""Outputs of a regression whose means are kept apart."""


@dataclass
class ConstantAnswer:
    """Running squared error of the best constant answer of a regression: the mean of each output.

    Outputs that change in number from batch to batch are taken together. Sums stay on their device.
    """

    n: int = 0
    rows: int = 0
    total: Any = 0.0
    squares: Any = 0.0
    columns: torch.Tensor | None = None
    apart: bool = True

    def add(self, target: torch.Tensor) -> None:
        """``target`` [N, ...]."""
        wide = target.detach().to(torch.float32 if target.device.type == "mps" else torch.float64)
        flat = wide.reshape(len(wide), -1) if wide.dim() > 1 else wide.reshape(-1, 1)
        self.n += flat.numel()
        self.rows += len(flat)
        self.total = self.total + flat.sum()
        self.squares = self.squares + flat.square().sum()
        width = flat.shape[1]
        known = self.columns is None or len(self.columns) == width
        self.apart = self.apart and known and 0 < width <= MOST_OUTPUTS
        if self.apart:
            sums = flat.sum(0)
            self.columns = sums if self.columns is None else self.columns + sums

    @property
    def mean(self) -> float:
        return float(self.total) / self.n

    @property
    def square(self) -> float:
        """What the answer zero costs."""
        return float(self.squares) / self.n

    @property
    def error(self) -> float:
        """Mean squared error of the constant answer; of all outputs together while there are fewer
        than two rows for each mean."""
        if self.apart and self.columns is not None and self.rows > 1:
            guessed = float((self.columns / self.rows).square().mean())
            return max(0.0, self.square - guessed)
        return max(0.0, self.square - self.mean**2)


LossKey = tuple[str, int]
"""(function, number of classes or 0): tells the losses of a program apart."""
CLASSIFYING = ("cross_entropy", "nll_loss", "binary_cross_entropy")
"""Beginnings of the names of losses by which accuracy is known."""


def key_of(call: LossCall) -> LossKey:
    if call.function not in ("cross_entropy", "nll_loss"):
        return call.function, 0
    return call.function, int(call.input.shape[1 if call.input.dim() > 1 else 0])


class Targets:
    """The targets of every loss that a program trains; the facts are those of its main loss.

    The main one classifies, if one of them does; else it is the one computed most often.
    """

    def __init__(self) -> None:
        self.by_loss: dict[LossKey, LossTargets] = {}

    def add(self, call: LossCall, rows: int | None) -> LossKey:
        key = key_of(call)
        self.by_loss.setdefault(key, LossTargets()).add(call, rows)
        return key

    @property
    def main(self) -> LossKey | None:
        """None before any loss was computed."""

        def rank(key: LossKey) -> tuple[bool, int]:
            return key[0].startswith(CLASSIFYING), self.by_loss[key].calls

        return max(self.by_loss, key=rank, default=None)

    def facts(self) -> dict[str, Any]:
        main = self.main
        return (self.by_loss[main] if main is not None else LossTargets()).facts()


@dataclass
class LossTargets:
    """Running summary of one loss's targets; class counts stay on their device."""

    calls: int = 0
    loss_function: str = ""
    reduction: str = "mean"
    counts: torch.Tensor | None = None
    n: int = 0
    values: ConstantAnswer = field(default_factory=ConstantAnswer)
    label_min: Any = None
    label_max: Any = None
    width: int = 0
    per_row: float = 1.0

    def add(self, call: LossCall, rows: int | None) -> None:
        self.calls += 1
        target = call.target.detach()
        self.loss_function, self.reduction = (
            call.function,
            str(call.options.get("reduction", "mean")),
        )
        if call.function in ("cross_entropy", "nll_loss") and not target.is_floating_point():
            self.width = int(call.input.shape[1 if call.input.dim() > 1 else 0])
            labels = target.reshape(-1)
            ignored = int(call.options.get("ignore_index", -100))
            labels = labels[labels != ignored]
            if not labels.numel():
                return
            low, high = labels.min(), labels.max()
            self.label_min = low if self.label_min is None else torch.minimum(self.label_min, low)
            self.label_max = high if self.label_max is None else torch.maximum(self.label_max, high)
            counts = torch.bincount(labels.clamp(0, self.width - 1), minlength=self.width)
            self.counts = counts if self.counts is None else self.counts + counts
            self.n += labels.numel()
            if rows:
                self.per_row = labels.numel() / rows
        else:
            values = (
                target.reshape(-1).double()
                if target.device.type != "mps"
                else target.reshape(-1).float()
            )
            self.width = int(call.input.shape[-1]) if call.input.dim() > 1 else 1
            self.n += values.numel()
            self.values.add(target)
            low, high = values.min(), values.max()
            self.label_min = low if self.label_min is None else torch.minimum(self.label_min, low)
            self.label_max = high if self.label_max is None else torch.maximum(self.label_max, high)

    def facts(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "loss_function": self.loss_function, "loss_reduction": self.reduction,
            "head_width": self.width,
        }  # fmt: skip
        if self.label_min is not None and math.isfinite(float(self.label_min)):
            out |= {"label_min": int(self.label_min), "label_max": int(self.label_max)}
        if self.counts is not None:
            shares = (self.counts / max(1, self.n)).tolist()
            out["n_classes"] = self.width
            if self.per_row >= MANY_TARGETS:
                out |= {
                    "task": "language_model",
                    "class_prior": tuple(sorted(shares, reverse=True)),
                }
            else:
                out |= {"task": "classification", "class_prior": tuple(shares)}
        elif self.n:
            mean = self.values.mean
            out |= {
                "target_mean": mean, "target_variance": self.values.error,
                "target_square": self.values.square,
            }  # fmt: skip
            if self.loss_function.startswith("binary"):
                out |= {"task": "binary", "n_classes": 2, "class_prior": (1 - mean, mean)}
            elif self.loss_function in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
                out["task"] = "regression"
        return out
