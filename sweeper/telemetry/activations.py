"""Hidden representations over a window of training forwards:
similarity, rank, dead and saturated units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sweeper.program.hooks import Hook
from sweeper.types import WatchPoint

WINDOW_ROWS = 1024
WINDOW_FORWARDS = 8
"""A window ends at 1,024 samples or 8 batches,
the least on which a unit is called dead (detectors, 5.10)."""
MAX_ROWS = 128
MAX_COLUMNS = 512
"""Rows and columns kept for cosine and effective rank."""
MAX_POINTS = 40
SATURATION: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": lambda a: a.abs() > 0.95,
    "softsign": lambda a: a.abs() > 0.95,
    "hardtanh": lambda a: a.abs() >= 1.0,
    "sigmoid": lambda a: (a < 0.025) | (a > 0.975),
    "hardsigmoid": lambda a: (a <= 0.0) | (a >= 1.0),
}
RECTIFIERS = ("relu", "relu6")


@dataclass
class _Point:
    point: WatchPoint
    function: str
    rows: list[torch.Tensor] = field(default_factory=list)
    largest: torch.Tensor | None = None
    saturated: torch.Tensor | None = None
    n: int = 0
    n_units: int = 0


class ActivationSampler:
    """Hooks are in place only during a window."""

    def __init__(
        self, points: tuple[WatchPoint, ...], modules: dict[str, nn.Module], swapped_to: str = ""
    ) -> None:
        self._modules = modules
        usable = [p for p in points if p.hook in modules]
        if len(usable) > MAX_POINTS:  # evenly over depth, the last (pooled) one kept
            stride = len(usable) / MAX_POINTS
            usable = [usable[int((i + 1) * stride) - 1] for i in range(MAX_POINTS)]
        self._points = [
            _Point(p, swapped_to if swapped_to and p.swappable else p.function) for p in usable
        ]
        self._handles: list[Any] = []
        self.running = False
        self._forwards = 0
        self._busy: Callable[[], bool] = lambda: False

    @property
    def empty(self) -> bool:
        return not self._points

    def open(self, observing: Callable[[], bool]) -> None:
        """Begin a window; ``observing`` tells when a forward is not the program's own training."""
        self._busy = observing
        self._forwards = 0
        self.running = bool(self._points)
        for p in self._points:
            p.rows, p.largest, p.saturated, p.n = [], None, None, 0
            module = self._modules[p.point.hook]
            self._handles.append(module.register_forward_pre_hook(Hook(self._hook(p))))

    def forward_done(self) -> bool:
        """Count a training forward; True when the window is full."""
        self._forwards += 1
        most = max((p.n for p in self._points), default=0)
        return self._forwards >= WINDOW_FORWARDS or most >= WINDOW_ROWS

    def close(self) -> dict[str, Any]:
        """End the window and compute its columns, ``[M]`` each."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.running = False
        columns: dict[str, list[Any]] = {
            k: []
            for k in ("names", "functions", "pooled", "n", "cosine", "erank", "dead", "saturated")
        }
        for p in self._points:
            if not p.rows:
                continue
            rows = torch.cat(p.rows)[:MAX_ROWS].float()
            columns["names"].append(p.point.layer)
            columns["functions"].append("pooled" if p.point.pooled else p.function)
            columns["pooled"].append(p.point.pooled)
            columns["n"].append(p.n)
            columns["cosine"].append(mean_cosine(rows))
            columns["erank"].append(effective_rank(rows))
            dead = saturated = math.nan
            if p.largest is not None and p.function in RECTIFIERS:
                dead = float((p.largest <= 0).float().mean())
            if p.saturated is not None and p.n:
                saturated = float((p.saturated > 0.95 * p.n).float().mean())
            columns["dead"].append(dead)
            columns["saturated"].append(saturated)
        return columns

    def _hook(self, p: _Point) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, args: Any) -> None:
            value = args[0] if args and isinstance(args[0], torch.Tensor) else None
            if value is None or not value.is_floating_point() or value.dim() < 2 or self._busy():
                return
            with torch.no_grad():
                _take(p, value.detach(), module)

        return hook


def _take(p: _Point, value: torch.Tensor, module: nn.Module) -> None:
    conv = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) or value.dim() == 4
    axis = 1 if conv else value.dim() - 1
    others = [d for d in range(value.dim()) if d != axis]
    largest = value.amax(others)
    if p.largest is not None and p.largest.shape != largest.shape:
        return  # one module fed with several widths: the first is watched
    p.largest = largest if p.largest is None else torch.maximum(p.largest, largest)
    if (test := SATURATION.get(p.function)) is not None:
        count = test(value).sum(others)
        p.saturated = count if p.saturated is None else p.saturated + count
    p.n += value.numel() // len(largest)
    kept = sum(len(r) for r in p.rows)
    if kept < MAX_ROWS:
        rows = value.reshape(len(value), -1) if conv else value.reshape(-1, value.shape[-1])
        # Rows spread over the batch: neighbours in a sequence are alike for good reasons.
        rows = rows[:: max(1, len(rows) // (MAX_ROWS // 2))][: MAX_ROWS - kept]
        rows = rows[:, :: max(1, math.ceil(rows.shape[1] / MAX_COLUMNS))]
        if not p.rows or p.rows[0].shape[1] == rows.shape[1]:
            p.rows.append(rows.clone())


def mean_cosine(rows: torch.Tensor) -> float:
    """Mean pairwise cosine of rows ``[n, d]`` in O(nd).

    NaN for fewer than two rows or non-finite ones.
    """
    n = len(rows)
    if n < 2 or not bool(torch.isfinite(rows).all()):
        return math.nan
    unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    total = unit.sum(0).square().sum() - unit.square().sum()
    return float(total / (n * (n - 1)))


def effective_rank(rows: torch.Tensor) -> float:
    """exp of the entropy of the centred singular values (Roy and Vetterli 2007).

    1.0 for constant rows.
    """
    if len(rows) < 2 or not bool(torch.isfinite(rows).all()):
        return math.nan
    rows = rows.double()
    scale = float(rows.abs().max())
    centred = (rows - rows.mean(0)) / max(scale, 1e-300)
    if float(centred.abs().max()) < 1e-9:
        return 1.0
    # Eigenvalues of the small Gram matrix: ten times cheaper than an SVD of the rows.
    values = torch.linalg.eigvalsh(centred @ centred.T).clamp_min(0).sqrt()
    p = values / values.sum()
    return float(torch.exp(-(p * (p + 1e-12).log()).sum()))
