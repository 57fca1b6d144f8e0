"""Per-step scalars that stay on their device and are fetched in blocks.

A GPU is waited for once per block instead of once per value.
"""

from __future__ import annotations

from typing import Any

import torch

BLOCK = 20
"""Optimizer steps per fetch: the record is never further behind than this after a kill."""


class StepBuffer:
    """Rows of one block: column name -> float or zero-dimensional tensor."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.current: dict[str, Any] = {}

    def put(self, **values: Any) -> None:
        self.current.update(values)

    def add(self, name: str, value: Any) -> None:
        """Accumulate within the step (gradient accumulation, several losses)."""
        self.current[name] = self.current[name] + value if name in self.current else value

    def end_step(self) -> None:
        self.rows.append(self.current)
        self.current = {}

    def drain(self) -> dict[str, list[float]]:
        """Columns of all finished rows as floats, NaN where a row lacks a value.

        The buffer is emptied.
        """
        rows, self.rows = self.rows, []
        tensors: dict[torch.device, list[tuple[int, str, torch.Tensor]]] = {}
        for index, row in enumerate(rows):
            for name, value in row.items():
                if isinstance(value, torch.Tensor):
                    tensors.setdefault(value.device, []).append((index, name, value))
        for entries in tensors.values():
            flat = torch.stack([v.detach().reshape(()).to(torch.float64) for _, _, v in entries])
            for (index, name, _), number in zip(entries, flat.tolist(), strict=True):
                rows[index][name] = number
        names = {name for row in rows for name in row}
        return {n: [float(row.get(n, float("nan"))) for row in rows] for n in sorted(names)}
