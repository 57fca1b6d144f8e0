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
CLASS_LOSSES = ("cross_entropy", "nll_loss")
CLASSIFYING = ("cross_entropy", "nll_loss", "binary_cross_entropy")
"""Beginnings of the names of losses by which accuracy is known."""


def key_of(call: LossCall) -> LossKey:
    if call.function not in CLASS_LOSSES:
        return call.function, 0
    return call.function, int(call.input.shape[1 if call.input.dim() > 1 else 0])


class Targets:
    """The targets of every loss that a program trains; the facts are those of its main loss.

    The main one classifies, if one of them does; else it is the one computed most often.
    """

    def __init__(self) -> None:
        self.by_loss: dict[LossKey, LossTargets] = {}

    def of(self, key: LossKey) -> LossTargets:
        if key not in self.by_loss:
            self.by_loss[key] = LossTargets(key[0])
        return self.by_loss[key]

    @property
    def main(self) -> LossKey | None:
        """None before any loss was computed."""

        def rank(key: LossKey) -> tuple[bool, int]:
            return key[0].startswith(CLASSIFYING), self.by_loss[key].calls

        return max(self.by_loss, key=rank, default=None)

    def facts(self) -> dict[str, Any]:
        main = self.main
        return (LossTargets("") if main is None else self.by_loss[main]).facts()


@dataclass
class LossTargets:
    """Running summary of one loss's targets; sums stay on their device."""

    function: str
    calls: int = 0
    reduction: str = "mean"
    width: int = 0
    counts: torch.Tensor | None = None
    """Of labels; what is no class comes first."""
    ignored: int | None = None
    samples: int = 0
    values: ConstantAnswer = field(default_factory=ConstantAnswer)
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None

    def add(self, target: torch.Tensor, labels: int, ignored: int | None, rows: int) -> None:
        """Add targets ``[B, ...]`` of B loss calls; no device is waited for.

        Args:
            target: labels or values.
            labels: width of the head if they are labels, else 0.
            ignored: label that does not count.
            rows: samples of each call, 0 for unknown.
        """
        self.calls += len(target)
        if not labels:
            self.values.add(target.flatten(0, 1) if target.dim() > 1 else target)
            low, high = target.aminmax()
            self.low = low if self.low is None else torch.minimum(self.low, low)
            self.high = high if self.high is None else torch.maximum(self.high, high)
            return
        places = target.reshape(-1).long().clamp(-1, labels - 1) + 1
        if self.counts is None:
            self.counts = places.new_zeros(labels + 1)
        self.counts = self.counts.scatter_add(0, places, torch.ones_like(places))
        self.ignored = ignored
        self.samples += rows * len(target) if rows else target.numel()

    def commonest(self) -> torch.Tensor | None:
        """The class that most targets so far were of, on their device; None where they are none."""
        if self.counts is not None:
            return self.counts[1:].argmax()
        if self.function.startswith("binary") and self.values.n:
            return torch.as_tensor(self.values.total * 2 > self.values.n)
        return None

    def facts(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "loss_function": self.function, "loss_reduction": str(self.reduction),
            "head_width": self.width,
        }  # fmt: skip
        if self.counts is not None:
            counts = self.counts.double().cpu()
            return out | self._classes(counts[1:], float(counts.sum()))
        if not self.values.n:
            return out
        if self.low is not None and self.high is not None and math.isfinite(float(self.low)):
            out |= {"label_min": int(self.low), "label_max": int(self.high)}
        mean = self.values.mean
        out |= {
            "target_mean": mean, "target_variance": self.values.error,
            "target_square": self.values.square,
        }  # fmt: skip
        if self.function.startswith("binary"):
            out |= {"task": "binary", "n_classes": 2, "class_prior": (1 - mean, mean)}
        elif self.function in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
            out["task"] = "regression"
        return out

    def _classes(self, counts: torch.Tensor, places: float) -> dict[str, Any]:
        """``places``: labels together with those that do not count, as a sequence holds them."""
        if self.ignored is not None and 0 <= self.ignored < len(counts):
            counts[self.ignored] = 0
        used, total = counts.nonzero().flatten().tolist(), float(counts.sum())
        if not used:
            return {}
        shares = (counts / total).tolist()
        many = places / self.samples >= MANY_TARGETS
        return {
            "label_min": used[0], "label_max": used[-1], "n_classes": self.width,
            "task": "language_model" if many else "classification",
            "class_prior": tuple(sorted(shares, reverse=True) if many else shares),
        }  # fmt: skip
