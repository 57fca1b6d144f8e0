"""Changing the numbers that enter a model. Imports torch: child only."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from sweeper.program.session import Session
    from sweeper.types import Facts

Transform = Callable[[torch.Tensor, bool], torch.Tensor]
"""``(rows [R, F], training) -> [R, F]``, with its own memory."""


def on_raw_input(session: Session, remedy: str, make: Callable[[], Transform]) -> None:
    """Pass the first float tensor of each model's inputs through a transform, one memory per model.

    Only raw data: what carries a gradient graph came out of another model and is left alone for
    good.
    """
    transforms: dict[int, Transform | None] = {}
    last: list[weakref.ref[torch.Tensor]] = []
    counts = {"train_calls": 0, "eval_calls": 0}

    def transform(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        place = _first_float(args, kwargs)
        if place is None:
            return args, kwargs
        tensor: torch.Tensor = args[place] if isinstance(place, int) else kwargs[place]
        if (
            last and last[0]() is tensor
        ):  # a part of a model that was given the changed tensor as it is
            return args, kwargs
        if id(module) not in transforms:
            transforms[id(module)] = make()
        if tensor.grad_fn is not None:
            transforms[id(module)] = None
        function = transforms[id(module)]
        if function is None:
            return args, kwargs
        training = is_training(module, session.facts)
        changed = _by_rows(tensor, function, training, session.facts)
        last[:] = [weakref.ref(changed)]
        counts["train_calls" if training else "eval_calls"] += 1
        if counts["train_calls"] + counts["eval_calls"] <= 2 or session.step < 3:
            session.confirm(remedy, **counts, shape=list(tensor.shape[1:]))
        if isinstance(place, int):
            return (*args[:place], changed, *args[place + 1 :]), kwargs
        return args, {**kwargs, place: changed}

    session.on_input(transform)


def is_training(module: nn.Module, facts: Facts | None) -> bool:
    """Whether a forward is one that trains: gradients are on, and the model in train mode if it
    ever is."""
    in_eval = facts is not None and facts.trained_in_eval_mode
    return torch.is_grad_enabled() and (module.training or in_eval)


def _first_float(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | str | None:
    places: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for place, value in places:
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0:
            return place
    return None


def _by_rows(
    tensor: torch.Tensor, function: Transform, training: bool, facts: Facts | None
) -> torch.Tensor:
    """Show the function rows of features: the last dimension, or dimension 1 (channels) of what a
    conv reads."""
    first = facts.layers[0].kind if facts is not None and facts.layers else ""
    channels = tensor.dim() >= 4 or (tensor.dim() == 3 and first.startswith("Conv"))
    dim = 1 if channels else -1
    moved = (tensor.unsqueeze(-1) if tensor.dim() == 1 else tensor).movedim(dim, -1)
    rows = function(moved.reshape(-1, moved.shape[-1]), training)
    return rows.reshape(moved.shape).movedim(-1, dim).reshape(tensor.shape)


class Moments:
    """Mean and variance of each feature over all rows seen, non-finite cells left out (Chan et al.
    1983)."""

    def __init__(self) -> None:
        self.count: torch.Tensor | None = None
        self.mean = self.squares = torch.empty(0)

    def add(self, rows: torch.Tensor) -> None:
        """``rows`` [R, F]."""
        rows = rows.detach().to(torch.float32 if rows.device.type == "mps" else torch.float64)
        known = torch.isfinite(rows)
        count = known.sum(0).to(rows.dtype)
        rows = torch.where(known, rows, 0.0)
        mean = rows.sum(0) / count.clamp_min(1)
        squares = (torch.where(known, rows - mean, 0.0) ** 2).sum(0)
        if self.count is None or self.count.shape != count.shape:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total = (self.count + count).clamp_min(1)
        delta = mean - self.mean
        self.squares = self.squares + squares + delta**2 * self.count * count / total
        self.mean = self.mean + delta * count / total
        self.count = self.count + count

    def scale(self) -> torch.Tensor:
        """Standard deviation [F]; 1 for a feature that has not varied, as scikit-learn's
        StandardScaler does."""
        assert self.count is not None
        deviation = (self.squares / self.count.clamp_min(1)).sqrt()
        still = deviation <= 1e-7 * (self.mean.abs() + 1e-30)
        return torch.where(still, torch.ones_like(deviation), deviation)


class Standardiser:
    """(x - mean) / standard deviation by all training rows so far.

    The statistics go on for `BATCHES` batches: they settle like 1/n, and a rare feature that the
    first batches never showed is not left unscaled. A first call outside training uses its own
    rows.
    """

    BATCHES = 1000

    def __init__(self) -> None:
        self.moments = Moments()
        self.batches = 0

    def __call__(self, rows: torch.Tensor, training: bool) -> torch.Tensor:
        moments = self.moments
        if training and self.batches < self.BATCHES:
            moments.add(rows)
            self.batches += 1
        if moments.count is None or moments.count.shape[0] != rows.shape[1]:
            moments = Moments()
            moments.add(rows)
        wide = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        return ((wide - moments.mean.to(wide)) / moments.scale().to(wide)).to(rows.dtype)


class Clamp:
    """Clamp to median +- limit robust standard deviations, by the first training rows (up to
    `ROWS`)."""

    ROWS = 4096

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.kept: list[torch.Tensor] = []
        self.bounds: tuple[torch.Tensor, torch.Tensor] | None = None
        self.clamped: torch.Tensor | int = 0

    def __call__(self, rows: torch.Tensor, training: bool) -> torch.Tensor:
        if training and sum(map(len, self.kept)) < self.ROWS:
            self.kept.append(rows.detach().float()[: self.ROWS])
            self.bounds = self._bounds(torch.cat(self.kept))
        bounds = self.bounds
        if bounds is None or bounds[0].shape[0] != rows.shape[1]:
            bounds = self._bounds(rows.detach().float())
        low, high = bounds[0].to(rows), bounds[1].to(rows)
        if training:
            self.clamped = self.clamped + ((rows < low) | (rows > high)).sum()
        return torch.minimum(torch.maximum(rows, low), high)

    def _bounds(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Per feature, by the interquartile range.

        Where half the rows are equal (rare events), by the median distance of the others. A feature
        that does not vary has no scale, and so no outliers.
        """
        rows = rows.nan_to_num(0.0, 0.0, 0.0)[: self.ROWS]
        points = torch.tensor([0.25, 0.5, 0.75], device=rows.device)
        lower, median, upper = torch.quantile(rows, points, dim=0)
        distance = (rows - median).abs()
        distance = torch.where(distance > 0, distance, torch.nan)
        rare = 1.4826 * torch.nanmedian(distance, dim=0).values
        spread = torch.where(upper > lower, (upper - lower) / 1.349, rare)
        reach = (self.limit * spread).nan_to_num(float("inf"), float("inf"))
        return median - reach, median + reach
