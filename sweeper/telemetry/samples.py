"""Which samples a batch holds, seen before or fresh; a copy of the first ones for the probes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeper.program.graph import tensors_in

MAX_FEATURES = 4096
MAX_CAPTURED = 4096
"""Samples kept for probes: enough for a cross-validated test to tell 5 % skill from none."""
MAX_CAPTURED_BYTES = 32 * 2**20


_NOT_DATA = (
    "label",
    "target",
    "mask",
    "position_ids",
    "token_type_ids",
    "past_key_values",
    "state",
)


def model_input(args: Any, kwargs: Any) -> torch.Tensor | None:
    """The tensor that carries the samples:
    the first that is given, labels, masks and states left aside.

    A bag of ids with offsets (EmbeddingBag) is padded to one row a sample.
    """
    named = {k: v for k, v in kwargs.items() if not any(word in str(k) for word in _NOT_DATA)}
    found = [t for t in tensors_in([args, named]) if t.dim() >= 1 and t.numel() > 1]
    if not found:
        return None
    if len(found) >= 2 and found[0].dim() == 1 and found[1].dim() == 1:
        ids, offsets = found[0], found[1]
        if not ids.is_floating_point() and not offsets.is_floating_point() and int(offsets[0]) == 0:
            return _padded_bags(ids, offsets)
    return found[0]


def _padded_bags(ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    ends = torch.cat([offsets[1:], offsets.new_tensor([len(ids)])])
    bags = [ids[a:b] for a, b in zip(offsets.tolist(), ends.tolist(), strict=True)]
    return torch.nn.utils.rnn.pad_sequence(bags, batch_first=True)


class SeenSamples:
    """Tells fresh samples from repeated ones by a checksum of each row.

    A row is projected on a fixed vector; equal rows give equal sums.
    The set of sums stays on the host, filled in blocks by the recorder.
    """

    def __init__(self) -> None:
        self._seen: set[float] = set()
        self._vectors: dict[tuple[int, torch.device], torch.Tensor] = {}

    def checksum(self, rows: torch.Tensor) -> torch.Tensor:
        """``[n, ...]`` -> ``[n]`` on the same device."""
        flat = rows.detach().reshape(len(rows), -1)
        stride = max(1, math.ceil(flat.shape[1] / MAX_FEATURES))
        flat = flat[:, ::stride].to(torch.float64 if flat.device.type != "mps" else torch.float32)
        key = (flat.shape[1], flat.device)
        if key not in self._vectors:
            index = torch.arange(1, flat.shape[1] + 1, device=flat.device, dtype=flat.dtype)
            self._vectors[key] = torch.sin(index * 12.9898) + 1.5
        return flat @ self._vectors[key]

    def fresh(
        self, checksums: np.ndarray[Any, np.dtype[np.float64]]
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Mask of rows not seen before; they count as seen from now on."""
        out = np.empty(len(checksums), dtype=bool)
        for i, value in enumerate(checksums.tolist()):
            key = round(value, 6)
            out[i] = key not in self._seen
            self._seen.add(key)
        return out


class Capture:
    """The first training batches as model and loss saw them, for ``captured.npz``."""

    def __init__(self) -> None:
        self.inputs: list[np.ndarray[Any, Any]] = []
        self.targets: list[np.ndarray[Any, Any]] = []
        self.first_logits: np.ndarray[Any, Any] | None = None
        self.last_logits: np.ndarray[Any, Any] | None = None
        self.n = 0
        self.bytes = 0

    @property
    def full(self) -> bool:
        return self.n >= MAX_CAPTURED or self.bytes >= MAX_CAPTURED_BYTES

    def add(self, rows: torch.Tensor, targets: torch.Tensor, logits: torch.Tensor) -> None:
        if self.full or not len(rows):
            return
        if self.inputs and (self.inputs[0].ndim, self.targets[0].ndim) != (
            rows.dim(),
            targets.dim(),
        ):
            return
        flat = rows.detach().reshape(len(rows), -1).cpu()
        x = (flat.float() if flat.is_floating_point() else flat).numpy().copy()
        self.inputs.append(x.reshape(tuple(rows.shape)))
        self.targets.append(targets.detach().float().cpu().numpy().copy())
        if self.first_logits is None:
            self.first_logits = logits.detach().float().cpu().numpy()[:256].copy()
        self.n += len(x)
        self.bytes += x.nbytes

    def save(self, path: Path) -> None:
        """Write ``captured.npz`` (plain arrays, no pickle).

        Rows of different lengths are padded with zeros.
        """
        if not self.inputs:
            return
        arrays = {"inputs": _stacked(self.inputs), "targets": _stacked(self.targets)}
        if self.first_logits is not None:
            arrays["first_logits"] = self.first_logits
        if self.last_logits is not None:
            arrays["last_logits"] = self.last_logits
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


def _stacked(parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    rank = min(p.ndim for p in parts)
    shape = [max(p.shape[d] for p in parts) for d in range(1, rank)]
    padded = [
        np.pad(
            p, [(0, 0), *((0, want - have) for want, have in zip(shape, p.shape[1:], strict=True))]
        )
        for p in parts
    ]
    return np.concatenate(padded)
