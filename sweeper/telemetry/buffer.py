"""Per-step scalars that stay on their device and are fetched in blocks.

A GPU is waited for once per block instead of once per value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import numpy as np


class StepBuffer:
    """Rows of one block: column name -> float or tensor of one element."""

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
        columns: dict[str, list[Any]] = {}
        names: dict[str, None] = {name: None for row in rows for name in row}
        waiting: list[str] = []
        for name in sorted(names):
            columns[name] = column = [row.get(name, math.nan) for row in rows]
            if any(issubclass(kind, torch.Tensor) for kind in set(map(type, column))):
                waiting.append(name)
        tensor = torch.Tensor
        numbers = iter(fetch([v for n in waiting for v in columns[n] if isinstance(v, tensor)]))
        for name in waiting:
            columns[name] = [next(numbers) if isinstance(v, tensor) else v for v in columns[name]]
        return columns


def ready(value: Any) -> Any:
    """What a row keeps of a tensor of one element that may change later: its number where nobody
    has to be waited for, else a copy on its device."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.item() if on_host(value) else value.detach().clone()


def on_host(tensor: torch.Tensor) -> bool:
    """Whether its numbers can be read without waiting for a device."""
    return tensor.is_cpu


def fetch(values: Sequence[torch.Tensor]) -> list[float]:
    """Tensors without dimensions as floats; every device is waited for once."""
    if not values:
        return []
    try:
        numbers: list[float] = torch.stack([*values]).tolist()
    except RuntimeError:  # on several devices
        out = [math.nan] * len(values)
        for device in {v.device for v in values}:
            where = [i for i, v in enumerate(values) if v.device == device]
            for i, number in zip(
                where, torch.stack([values[i] for i in where]).tolist(), strict=True
            ):
                out[i] = number
        return out
    return numbers


def fetch_arrays(values: Sequence[torch.Tensor]) -> list[np.ndarray[Any, Any]]:
    """Tensors as arrays of their shapes; every device and type is waited for once."""
    out: list[Any] = [None] * len(values)
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, value in enumerate(values):
        if value.device.type == "cpu" and value.dtype is not torch.bfloat16:
            out[index] = value.numpy()
        else:
            kinds.setdefault((value.device, value.dtype), []).append(index)
    for (_, dtype), where in kinds.items():
        flat = torch.cat([values[i].reshape(-1) for i in where])
        host = (flat.float() if dtype is torch.bfloat16 else flat).cpu().numpy()
        start = 0
        for i in where:
            out[i] = host[start : start + values[i].numel()].reshape(values[i].shape)
            start += values[i].numel()
    return out
