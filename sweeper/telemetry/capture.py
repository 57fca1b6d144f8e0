"""A copy of the first training batches, for the probes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from sweeper.program.session import LossCall
from sweeper.telemetry.samples import Bags
from sweeper.telemetry.targets import LossKey, key_of

MAX_CAPTURED = 4096
"""Samples kept for probes: enough for a cross-validated test to tell 5 % skill from none."""
MAX_CAPTURED_BYTES = 32 * 2**20
MAX_HELD_BYTES = 2 * 2**20
"""Copies that wait on their device for the next fetch."""
FIRST_LOGITS = 256
NO_LOSS: LossKey = ("", 0)
"""Of a batch at which the program ended before any loss was known."""

Array = np.ndarray[Any, Any]


class Captures:
    """One `Capture` for every loss that a program trains; in the end the main one's counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_loss: dict[LossKey, Capture] = {}

    def add(self, rows: torch.Tensor | Bags, call: LossCall) -> None:
        """Copy a training batch as the model got it and its loss saw it."""
        key = key_of(call)
        if key not in self._by_loss:
            part = self._folder / f"captured-{len(self._by_loss)}.part"
            self._by_loss[key] = Capture(part)
        capture, n = self._by_loss[key], call.target.numel()
        if n and not capture.full and n % len(rows) == 0:
            targets = call.target.reshape(len(rows), -1).squeeze(-1)
            capture.add(rows, targets, call.input)

    def add_unlabelled(self, rows: torch.Tensor) -> None:
        """Copy a batch that no loss accepted; its targets are NaN."""
        if not self._by_loss:
            self._by_loss[NO_LOSS] = Capture(self._folder / "captured-0.part")
        for capture in self._by_loss.values():
            capture.add_unlabelled(rows)

    def drain(self) -> None:
        """Fetch what waits on its device."""
        for capture in self._by_loss.values():
            capture.drain()

    def save(self, main: LossKey | None, path: Path) -> None:
        """Write the main loss's capture, if there is any, and remove what was kept aside."""
        for key, capture in self._by_loss.items():
            if key == (main or NO_LOSS):
                capture.save(path)
            capture.close()


class Capture:
    """The first training batches as the model and one loss saw them, for ``captured.npz``.

    They wait on their device for `drain`, and then in the file ``part`` rather than in memory.
    """

    def __init__(self, part: Path) -> None:
        self._path = part
        self._file: BinaryIO | None = None
        self._held: list[tuple[torch.Tensor | Bags, torch.Tensor]] = []
        self._held_bytes = 0
        self._logits: torch.Tensor | None = None
        self._stored: list[tuple[str, np.dtype[Any], tuple[int, ...], int]] = []
        self._first_logits: Array | None = None
        self._ranks: tuple[int, int] | None = None
        self.n = 0
        self.bytes = 0

    @property
    def full(self) -> bool:
        return self.n >= MAX_CAPTURED or self.bytes >= MAX_CAPTURED_BYTES

    def add(self, rows: torch.Tensor | Bags, targets: torch.Tensor, logits: torch.Tensor) -> None:
        """Copy a batch: targets ``[n, ...]`` of rows ``[n, ...]``."""
        ranks = (2 if isinstance(rows, Bags) else rows.dim(), targets.dim())
        if self.full or not len(rows) or (self._ranks and self._ranks != ranks):
            return
        self._ranks = ranks
        if self._logits is None and self._first_logits is None:
            self._logits = logits.detach()[:FIRST_LOGITS].clone()
        data = rows.ids if isinstance(rows, Bags) else rows
        copy = (
            Bags(rows.ids.clone(), rows.offsets.clone())
            if isinstance(rows, Bags)
            else rows.detach().clone()
        )
        self._held.append((copy, targets.detach().clone()))
        size = data.numel() * data.element_size()
        self._held_bytes += size
        self.bytes += size
        self.n += len(rows)
        if self._held_bytes > MAX_HELD_BYTES:
            self.drain()

    def add_unlabelled(self, rows: torch.Tensor) -> None:
        """Copy rows ``[n, ...]`` without targets."""
        shape = (len(rows), *[1] * (self._ranks[1] - 1 if self._ranks else 0))
        none = torch.full(shape, math.nan, device=rows.device)
        self.add(rows, none, none[:0])

    def drain(self) -> None:
        """Fetch what waits on its device."""
        if self._logits is not None:
            self._first_logits, self._logits = _host(self._logits), None
        held, self._held, self._held_bytes = self._held, [], 0
        for rows, targets in held:
            data = rows.padded() if isinstance(rows, Bags) else rows
            if data is not None:
                self._store("inputs", _host(data))
                self._store("targets", _host(targets.float()))

    def _store(self, name: str, array: Array) -> None:
        if self._file is None:
            self._file = open(self._path, "wb", opener=_behind_outputs)  # noqa: SIM115
        self._stored.append((name, array.dtype, array.shape, self._file.tell()))
        self._file.write(np.ascontiguousarray(array).data)

    def save(self, path: Path) -> None:
        """Write ``captured.npz`` (plain arrays, no pickle).

        Rows of different lengths are padded with zeros.
        """
        self.drain()
        if self._file is None:
            return
        self._file.flush()
        arrays = {name: _stacked(self._parts(name)) for name in ("inputs", "targets")}
        if self._first_logits is not None:
            arrays["first_logits"] = self._first_logits
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            os.unlink(self._path)

    def _parts(self, wanted: str) -> list[Array]:
        return [
            np.memmap(self._path, dtype, "r", start, shape)
            for name, dtype, shape, start in self._stored
            if name == wanted
        ]


def _behind_outputs(path: str, flags: int) -> int:
    """Never 0 to 2: there would go what a program prints that has closed these descriptors."""
    found = os.open(path, flags, 0o666)
    if found > 2:
        return found
    lower = [found]
    while (found := os.dup(found)) <= 2:
        lower.append(found)
    for descriptor in lower:
        os.close(descriptor)
    return found


def _host(tensor: torch.Tensor) -> Array:
    if tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.cpu().numpy()


def _stacked(parts: list[Array]) -> Array:
    if len({p.shape[1:] for p in parts}) == 1:
        return np.concatenate(parts)
    rank = min(p.ndim for p in parts)
    shape = [max(p.shape[d] for p in parts) for d in range(1, rank)]
    padded = [
        np.pad(
            p, [(0, 0), *((0, want - have) for want, have in zip(shape, p.shape[1:], strict=True))]
        )
        for p in parts
    ]
    return np.concatenate(padded)
