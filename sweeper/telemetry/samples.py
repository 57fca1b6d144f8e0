"""Which samples a batch holds, seen before or fresh."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sweeper.program.graph import tensors_in

MAX_FEATURES = 4096
MAX_SEEN = 2**22
"""Samples remembered (8 bytes each); later ones count as fresh whenever they come."""
REPEATED_EVERY, LATE, LATE_EVERY = 8, 2000, 32
"""Once a whole pass brought nothing fresh, the samples of every eighth step are looked at, and from
step 2,000 on, where few steps are looked at anyway, those of every 32nd."""

Sums = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

_NOT_DATA = (
    "label",
    "target",
    "mask",
    "position_ids",
    "token_type_ids",
    "past_key_values",
    "state",
)


@dataclass(frozen=True)
class Bags:
    """Bags of ids behind one another, the offsets where they begin (EmbeddingBag)."""

    ids: torch.Tensor
    offsets: torch.Tensor

    def __len__(self) -> int:
        return len(self.offsets)

    def padded(self) -> torch.Tensor | None:
        """One row a bag, filled with zeros; None where the second tensor holds no offsets.

        Waits for a GPU.
        """
        starts = self.offsets.tolist()
        ends = [*starts[1:], len(self.ids)]
        if starts[0] or any(a > b for a, b in zip(starts, ends, strict=True)):
            return None
        bags = [self.ids[a:b] for a, b in zip(starts, ends, strict=True)]
        return torch.nn.utils.rnn.pad_sequence(bags, batch_first=True)


def model_rows(args: Any, kwargs: Any) -> torch.Tensor | Bags | None:
    """The tensor that carries the samples:
    the first that is given, labels, masks and states left aside.
    """
    if len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor):
        return args[0] if args[0].dim() and args[0].numel() > 1 else None
    named = {k: v for k, v in kwargs.items() if not any(word in str(k) for word in _NOT_DATA)}
    found = [t for t in tensors_in([args, named]) if t.dim() and t.numel() > 1]
    if not found:
        return None
    first, second = found[0], found[1] if len(found) > 1 else None
    if (
        second is not None and first.dim() == second.dim() == 1 and len(second) < len(first)
        and not first.is_floating_point() and not second.is_floating_point()
    ):  # fmt: skip
        return Bags(first, second)
    return first


def model_input(args: Any, kwargs: Any) -> torch.Tensor | None:
    """`model_rows` with bags padded to one row a sample, which waits for a GPU."""
    rows = model_rows(args, kwargs)
    if isinstance(rows, Bags):
        padded = rows.padded()
        return rows.ids if padded is None else padded
    return rows


class SeenSamples:
    """Tells fresh samples from repeated ones by a checksum of each row.

    A row is projected on a fixed vector; equal rows give equal sums. The sums seen stay on the
    host, filled in blocks by the recorder.
    """

    def __init__(self) -> None:
        self._levels: list[Sums] = []
        """Sorted, each at least eight times as long as the next: few to search, cheap to add to."""
        self._vectors: dict[tuple[int, torch.device], torch.Tensor] = {}
        self._repeated = 0  # samples in a row that were known

    def due(self, step: int) -> bool:
        """Whether to look at the samples of a training step.

        Not at all of them where data repeats: as many samples in a row were known as there are.
        Fresh ones that come later are noticed at most seven steps late, in long runs 31.
        """
        every = REPEATED_EVERY if step < LATE else LATE_EVERY
        return step % every == 0 or self._repeated <= sum(map(len, self._levels))

    def checksum(self, rows: torch.Tensor) -> torch.Tensor:
        """``[n, ...]`` -> ``[n]`` on the same device."""
        flat = rows.detach().reshape(len(rows), -1)
        if (width := flat.shape[1]) > MAX_FEATURES:
            flat = flat[:, :: math.ceil(width / MAX_FEATURES)]
        flat = flat.to(torch.float64 if flat.device.type != "mps" else torch.float32)
        key = (flat.shape[1], flat.device)
        if key not in self._vectors:
            index = torch.arange(1, flat.shape[1] + 1, device=flat.device, dtype=flat.dtype)
            self._vectors[key] = torch.sin(index * 12.9898) + 1.5
        return flat @ self._vectors[key]

    def known(self, checksums: Sums) -> Mask:
        """Mask of rows seen before."""
        return self._found(_keys(checksums))

    def fresh(self, checksums: Sums) -> Mask:
        """Mask of rows not seen before; they count as seen from now on."""
        keys = _keys(checksums)
        fresh = ~self._found(keys)
        where = np.flatnonzero(fresh)
        self._repeated = 0 if len(where) else self._repeated + len(keys)
        if len(where):
            new, first = np.unique(keys[where], return_index=True)
            fresh[:] = False
            fresh[where[first]] = True  # a row may be twice in one batch
            self._remember(new)
        elif len(self._levels) > 1:  # the first pass is over: one level is the fastest to search
            self._levels = [np.sort(np.concatenate(self._levels))]
        return fresh

    def _found(self, keys: Sums) -> Mask:
        found = np.zeros(len(keys), dtype=bool)
        if not self._levels:
            return found
        order = np.argsort(keys)  # in order they are searched in a third of the time
        keys = keys[order]
        for level in self._levels:
            places = np.searchsorted(level, keys)
            found[order] |= level[np.minimum(places, len(level) - 1)] == keys
        return found

    def _remember(self, new: Sums) -> None:
        new = new[np.isfinite(new)]
        if not len(new) or sum(map(len, self._levels)) + len(new) > MAX_SEEN:
            return
        while self._levels and len(self._levels[-1]) < 8 * len(new):
            new = np.sort(np.concatenate([self._levels.pop(), new]), kind="stable")
        self._levels.append(new)


def _keys(checksums: Sums) -> Sums:
    return np.round(checksums, 6)  # sums of equal rows differ in their last bits between batches


class Batch:
    """The samples of one training forward, for the losses that follow it.

    Rows that are copied here (few) get their checksums later, together with those of other steps;
    of many rows the checksums are computed at once and nothing is kept.

    Args:
        repeated: its samples are taken as known, without a look (`SeenSamples.due`).
    """

    __slots__ = ("held", "kept", "n", "repeated", "sums")

    def __init__(
        self,
        rows: torch.Tensor | Bags,
        seen: SeenSamples,
        limit: int = 2**14,
        *,
        repeated: bool = False,
    ) -> None:
        self.n = len(rows)
        self.repeated = repeated
        self.held = 0  # elements copied
        self.kept: torch.Tensor | Bags | None = None
        self.sums: torch.Tensor | None = None
        if repeated:
            return
        if isinstance(rows, Bags):
            self.kept = Bags(rows.ids.clone(), rows.offsets.clone())
            self.held = rows.ids.numel()
        elif (elements := rows.numel()) <= limit:
            self.kept, self.held = rows.detach().clone(), elements
        else:
            self.sums = seen.checksum(rows)

    def known_sums(self, seen: SeenSamples) -> torch.Tensor | None:
        """The checksums after `sum_up`; None where what looked like bags is none.

        Of bags the lengths have to be known: a GPU is waited for.
        """
        if isinstance(self.kept, Bags):
            padded = self.kept.padded()
            self.sums, self.kept = None if padded is None else seen.checksum(padded), None
        return self.sums


def sum_up(batches: Iterable[Batch], seen: SeenSamples) -> None:
    """Compute the checksums that are still due, without waiting; those of bags are left."""
    shapes: dict[Any, list[Batch]] = {}
    for batch in batches:
        rows = batch.kept
        if isinstance(rows, torch.Tensor):
            shapes.setdefault((rows.shape, rows.dtype, rows.device), []).append(batch)
    for (shape, *_), alike in shapes.items():
        rows = torch.cat([b.kept for b in alike if isinstance(b.kept, torch.Tensor)])
        for batch, sums in zip(alike, torch.split(seen.checksum(rows), shape[0]), strict=True):
            batch.sums, batch.kept = sums, None
