"""What a fix sets in an optimizer's parameter groups: in place during a step, and only then.

Programs write their groups while they run, so a value put there once would be lost; and what they
read back must be their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from sweeper.types import Facts

GroupValue = Callable[[torch.optim.Optimizer, int, Any], Any]
"""``(optimizer, index of the group, program's value) -> value``."""
Shape = Callable[[int, int], float]
"""``(step, total) -> share of the peak``."""


@dataclass
class GroupValues:
    """The values that remedies ask for, and the program's own while they are out of their place."""

    facts: Facts | None
    optimizers: Sequence[torch.optim.Optimizer]
    """The session's list, which grows."""
    values: dict[str, GroupValue] = field(default_factory=dict)
    peak: float | None = None
    shape: Shape | None = None
    overwritten: dict[str, int] = field(default_factory=dict)
    """Key -> steps inside which the program undid what a fix set."""
    _out: list[tuple[dict[str, Any], str, Any, Any]] = field(default_factory=list)

    def put(
        self, optimizer: torch.optim.Optimizer, first: torch.optim.Optimizer, step: int, total: int
    ) -> None:
        """Before a step. ``first``: the optimizer whose first group has the peak that is asked
        for."""
        for index, group in enumerate(optimizer.param_groups):
            if (self.peak is not None or self.shape is not None) and group["lr"] is not None:
                self._put(group, "lr", self._rate(optimizer, index, first, step, total))
            for key, function in self.values.items():
                if key in group:
                    self._put(group, key, function(optimizer, index, group[key]))

    def take_back(self) -> None:
        """The program's own values return."""
        if not self._out:
            return
        for group, key, program_value, ours in self._out:
            if group[key] is ours or group[key] == ours:
                group[key] = program_value
            else:  # the optimizer's own step wrote it: what the fix set did not hold
                self.overwritten[key] = self.overwritten.get(key, 0) + 1
        self._out.clear()

    def _put(self, group: dict[str, Any], key: str, value: Any) -> None:
        if isinstance(group[key], torch.Tensor):
            value = torch.full_like(group[key], value)
        self._out.append((group, key, group[key], value))
        group[key] = value

    def _rate(
        self,
        optimizer: torch.optim.Optimizer,
        index: int,
        first: torch.optim.Optimizer,
        step: int,
        total: int,
    ) -> float:
        own = float(optimizer.param_groups[index]["lr"])
        program_peak = self._program_peak(optimizer, index)
        peak = self.peak if self.peak is not None else program_peak
        if self.peak is not None and (index > 0 or optimizer is not first):
            # Groups and optimizers keep their proportions (a slower body, a faster discriminator).
            reference = self._program_peak(first, 0)
            peak *= program_peak / reference if reference > 0 else 1.0
        if self.shape is not None:
            return peak * self.shape(step, total)
        return peak * (own / program_peak if program_peak > 0 else 1.0)

    def _program_peak(self, optimizer: torch.optim.Optimizer, index: int) -> float:
        position = next((i for i, o in enumerate(self.optimizers) if o is optimizer), 0)
        if self.facts and position < len(self.facts.optimizers):
            peaks = self.facts.optimizers[position].peak_lr
            if index < len(peaks) and math.isfinite(peaks[index]) and peaks[index] > 0:
                return peaks[index]
        group = optimizer.param_groups[index]
        promised = [group["lr"], *(group[k] for k in ("initial_lr", "max_lr") if k in group)]
        return max((float(rate) for rate in promised if rate is not None), default=0.0)
