"""What the training targets were, summed up while they pass by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from sweeper.program.session import LossCall

MANY_TARGETS = 4
"""A loss with at least so many targets per input row predicts sequences:
a language model when it classifies."""


@dataclass
class Targets:
    """Running summary of the training targets; class counts stay on their device."""

    loss_function: str = ""
    reduction: str = "mean"
    counts: torch.Tensor | None = None
    n: int = 0
    total: Any = 0.0
    squares: Any = 0.0
    label_min: Any = None
    label_max: Any = None
    width: int = 0
    per_row: float = 1.0

    def add(self, call: LossCall, rows: int | None) -> None:
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
            self.total = self.total + values.sum()
            self.squares = self.squares + values.square().sum()
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
            mean = float(self.total) / self.n
            out |= {
                "target_mean": mean,
                "target_variance": max(0.0, float(self.squares) / self.n - mean**2),
            }
            if self.loss_function.startswith("binary"):
                out |= {"task": "binary", "n_classes": 2, "class_prior": (1 - mean, mean)}
            elif self.loss_function in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
                out["task"] = "regression"
        return out
