"""What the training losses of a block of steps saw: right answers, fresh samples, targets.

A loss call leaves its predictions and targets as copies on their device, when they are few. They
are reduced together, many steps in one operation, without waiting for the device; what is left of a
step, some numbers and a count per sample, is fetched once per block. Many predictions are reduced
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from sweeper.program.session import LossCall
from sweeper.telemetry.answers import decision, mean_loss
from sweeper.telemetry.buffer import fetch_arrays
from sweeper.telemetry.samples import Batch, SeenSamples, sum_up
from sweeper.telemetry.targets import CLASS_LOSSES, LossKey, Targets, key_of

LARGE_LOGITS = 4_000_000
"""Elements above which batch accuracy is only computed on sampled steps."""
FEW = 2**14
"""Elements that a loss call may leave behind as copies; more are reduced at once."""
RARE = 0.35
"""Share of samples outside of the commonest class up to which they are counted apart."""
HELD = 2**18
"""Elements left behind by all calls that are reduced before the block ends: 2 MB at most."""
ROWS_HELD = 2**16
"""The same of the samples: what fits into a cache is summed up in half of the time."""

Array = np.ndarray[Any, Any]


@dataclass(eq=False, slots=True)
class _Call:
    """One loss call, as it is left behind."""

    step: int
    key: LossKey
    n: int  # targets
    batch: Batch | None
    first_epoch: bool
    ignored: int | None
    loss: torch.Tensor
    shape: torch.Size  # of the prediction
    prediction: torch.Tensor | None  # None where it is not looked at
    target: torch.Tensor

    def kind(self) -> tuple[Any, ...]:
        """Calls of one kind are reduced together."""
        return (
            self.key, self.ignored, self.batch and self.batch.n, self.loss.device, self.shape,
            self.prediction is None, self.target.shape, self.target.dtype,
        )  # fmt: skip

    @property
    def labels(self) -> int:
        """Width of the head when the targets are labels, else 0."""
        return 0 if self.target.is_floating_point() else self.key[1]


@dataclass(eq=False, slots=True)
class _Kind:
    """B calls of one kind, reduced: tensors ``[B, ...]`` until they are fetched."""

    calls: Sequence[_Call]
    n_guess: int
    loss: Any
    right: Any = None  # right answers of each sample, or of all together
    kept: Any = None  # targets that are not ignored, in the same way
    majority: Any = None
    rare: Any = None  # [B, 2] answers outside of the commonest class, and the right ones of them
    error: Any = None


@dataclass(frozen=True)
class Totals:
    """Sums over all calls of the main loss."""

    n: int = 0  # targets that count
    loss: float = 0.0  # of all of them
    right: int = 0
    answers: int = 0  # decisions, 0 where the loss decides nothing
    error: float = 0.0  # squared errors of a regression
    errors: int = 0
    rare: int = 0  # answers outside of the commonest class
    rare_right: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Totals)))


class LossLog:
    """The loss calls since the last fetch."""

    def __init__(self, seen: SeenSamples, targets: Targets) -> None:
        self.seen = seen
        self.targets = targets
        self.batch_sizes: list[int] = []
        self._block: list[_Call] = []
        self._kinds: list[_Kind] = []
        self._due = 0  # calls of the block that are reduced already
        self._held = 0
        self._batches: list[Batch] = []  # whose checksums are due
        self._rows_held = 0

    def add(
        self,
        step: int,
        call: LossCall,
        value: torch.Tensor,
        batch: Batch | None,
        *,
        first_epoch: bool,
        sampled: bool,
    ) -> None:
        """Note a training loss ``value`` in row ``step`` of the block; nothing is waited for."""
        given, target, options = call.input, call.target, call.options
        n, size = target.numel(), given.numel()
        if not n:
            return
        prediction: torch.Tensor | None = given.detach()
        target = target.detach()
        if batch is not None and n % batch.n:
            batch = None  # rows and targets do not match: fall back on the loader's epochs
        if size > LARGE_LOGITS and not sampled and call.function in CLASS_LOSSES:
            prediction, size = None, 0
        size += n
        if few := size <= FEW:
            target = target.clone()
            prediction = prediction.clone() if prediction is not None else None
        key = key_of(call)
        self.targets.of(key).reduction = options.get("reduction", "mean")
        self._block.append(
            _Call(
                step, key, n, batch, first_epoch, options.get("ignore_index", -100),
                mean_loss(call, value).clone(), given.shape, prediction, target,
            )
        )  # fmt: skip
        self._held += size
        if batch is not None and batch.kept is not None and batch not in self._batches[-1:]:
            self._batches.append(batch)
            self._rows_held += batch.held
            if self._rows_held > ROWS_HELD:
                self._sum_up()
        if not few or self._held > HELD:
            self.reduce()

    def _sum_up(self) -> None:
        sum_up(self._batches, self.seen)
        self._batches, self._rows_held = [], 0

    def heard(self, step: int) -> bool:
        """Whether a loss of row ``step`` was noted."""
        return bool(self._block) and self._block[-1].step == step

    def reduce(self) -> None:
        """Leave a few numbers of each call; the device is not waited for."""
        calls, self._due, self._held = self._block[self._due :], len(self._block), 0
        self._sum_up()
        kinds: dict[tuple[Any, ...], list[_Call]] = {}
        for call in calls:
            kinds.setdefault(call.kind(), []).append(call)
        self._kinds.extend(self._reduced(alike) for alike in kinds.values())

    def _reduced(self, alike: Sequence[_Call]) -> _Kind:
        first, n = alike[0], len(alike)
        target = torch.stack([c.target for c in alike])
        labels = first.labels
        targets = self.targets.of(first.key)
        targets.width = labels or (first.shape[-1] if len(first.shape) > 1 else 1)
        targets.add(target, labels, first.ignored, first.batch.n if first.batch else 0)
        kind = _Kind(alike, first.n, torch.stack([c.loss for c in alike]))
        counts = target != first.ignored if labels and first.ignored is not None else None
        if counts is not None:
            kind.kept = _by_sample(kind, counts)
        if first.prediction is not None:
            prediction = torch.stack([c.prediction for c in alike if c.prediction is not None])
            if (decided := decision(first.key[0], prediction, target)) is not None:
                guess, truth = decided
                kind.n_guess = guess[0].numel()
                right = guess == truth
                kind.right = _by_sample(kind, right if counts is None else right & counts)
                kind.rare = _rare(truth, right, counts, targets.commonest())
                if first.key[1] and len(first.shape) > 1:
                    guess = guess.view(n, -1)
                    found = guess.new_zeros(n, first.shape[1])
                    kind.majority = found.scatter_add_(1, guess, torch.ones_like(guess)).amax(1)
            elif prediction.shape == target.shape:
                errors = prediction.float() - target.float()
                kind.error = errors.square().reshape(n, -1).sum(1)
        for call in alike:
            call.target, call.prediction = call.loss, None  # their memory is given back
        return kind

    def columns(self, n_rows: int) -> dict[str, list[float]]:
        """What the rows of the block saw, ``[n_rows]`` each, NaN where unknown.

        Waits for the device. Calls behind the last row belong to no step and are dropped.
        """
        self.reduce()
        kinds, calls = self._kinds, [c for c in self._block if c.step < n_rows]
        self._block, self._kinds, self._due = [], [], 0
        # Several losses of one batch: its samples count once, by the main one.
        main = self.targets.main
        told = {c.step for c in calls if c.key == main}
        calls = [c for c in calls if c.key == main or c.step not in told]
        fresh = self._fresh(calls, _fetched(kinds, calls, self.seen))
        block, counted = _Block(n_rows), set(calls)
        for kind in kinds:
            counts = np.array([c in counted for c in kind.calls])
            block.add(kind, counts)
            block.add_fresh(kind, counts, [fresh.get(call) for call in kind.calls])
        self.batch_sizes.extend(block.batch_sizes())
        return block.columns()

    def totals(self) -> Totals:
        """Sums over the calls so far, which are forgotten. Waits for the device."""
        self.reduce()
        kinds, self._kinds, self._block, self._due = self._kinds, [], [], 0
        _fetched(kinds, [], self.seen)
        total = Totals()
        for kind in kinds:
            first, answers = kind.calls[0], _answers(kind)
            if first.key != self.targets.main:
                continue
            n = answers if kind.kept is not None else np.full(len(kind.calls), first.n)
            decided, measured = kind.right is not None, kind.error is not None
            total = total + Totals(
                n=int(n.sum()),
                loss=float(np.where(n > 0, kind.loss * n, 0.0).sum()),
                right=int(kind.right.sum()) if decided else 0,
                answers=int(answers.sum()) if decided else 0,
                error=float(kind.error.sum()) if measured else 0.0,
                errors=int(n.sum()) if measured else 0,
                rare=int(kind.rare[:, 0].sum()) if kind.rare is not None else 0,
                rare_right=int(kind.rare[:, 1].sum()) if kind.rare is not None else 0,
            )
        return total

    def _fresh(self, calls: Sequence[_Call], sums: dict[Batch, Array]) -> dict[_Call, Array]:
        """For each call, which of its samples were not trained on before it."""
        told = [c for c in calls if c.batch is not None]
        known = [(c, sums[c.batch]) for c in told if c.batch in sums]
        fresh = {
            c: np.zeros(c.batch.n, dtype=bool)
            for c in told
            if c.batch is not None and c.batch.repeated
        }
        if known:
            mask, start = self.seen.fresh(np.concatenate([values for _, values in known])), 0
            for call, values in known:
                fresh[call] = mask[start : start + len(values)]
                start += len(values)
        return fresh


class _Block:
    """Columns in the making; all arrays are ``[n_rows + 1]``, the last for what is dropped."""

    def __init__(self, n_rows: int) -> None:
        self._width = n_rows + 1
        self.calls, self.samples, self.n, self.loss, self.right, self.answers = self._zeros(6)
        self.error, self.errors, self.fresh_n, self.fresh_loss, self.fresh_right = self._zeros(5)
        self.single, self.majority, self.fresh_known = self._zeros(3)
        self.rare_n, self.rare_right = self._zeros(2)
        self.majority[:] = np.nan

    def _zeros(self, n: int) -> Array:
        return np.zeros((n, self._width))

    def _add(self, column: Array, steps: Array, values: Any) -> None:
        column += np.bincount(steps, np.broadcast_to(values, steps.shape), self._width)

    def add(self, kind: _Kind, counts: Array) -> None:
        first, every = kind.calls[0], self._steps(kind)
        steps = np.where(counts, every, self._width - 1)
        self._add(self.calls, steps, 1)
        self._add(self.samples, steps, first.batch.n if first.batch else first.n)
        n = _answers(kind) if kind.kept is not None else np.full(len(steps), first.n)
        self._add(self.n, steps, n)
        self._add(self.loss, steps, np.where(n > 0, n * kind.loss, 0.0))
        self.single[steps] = kind.loss
        # One call without a decision leaves its step without accuracy.
        self._add(self.right, steps, np.nan if kind.right is None else kind.right.sum(1))
        self._add(self.answers, steps, _answers(kind))
        for column, i in ((self.rare_n, 0), (self.rare_right, 1)):
            self._add(column, steps, np.nan if kind.rare is None else kind.rare[:, i])
        if kind.majority is not None:
            self.majority[every] = kind.majority / kind.n_guess
        if kind.error is not None:
            self._add(self.error, every, kind.error)
            self.errors[every] = 1

    def add_fresh(self, kind: _Kind, counts: Array, masks: Sequence[Array | None]) -> None:
        """Count what was not trained on before: ``masks`` of the samples, None for unknown."""
        where = np.flatnonzero(counts)
        steps, answers = self._steps(kind)[where], _answers(kind)[where]
        right: Any = None if kind.right is None else kind.right[where].sum(1)
        known = [mask for i in where.tolist() if (mask := masks[i]) is not None]
        if len(known) < len(where):
            first = np.array([kind.calls[i].first_epoch for i in where.tolist()], dtype=float)
            n = first * (answers if right is not None else 1.0)
            right = None if right is None else first * right
        else:
            mask = np.stack(known) if known else np.zeros((0, 1), dtype=bool)
            if not mask.any():
                return
            n = mask.sum(1).astype(float)
            if right is not None and kind.right.shape[1] == mask.shape[1]:
                each = kind.n_guess / mask.shape[1] if kind.kept is None else kind.kept[where]
                n, right = (mask * each).sum(1), (mask * kind.right[where]).sum(1)
            elif right is not None:  # nobody knows which answers are whose
                n, right = answers * mask.mean(1), right * mask.mean(1)
        self._add(self.fresh_n, steps, n)
        self._add(self.fresh_loss, steps, np.where(n > 0, kind.loss[where] * n, 0.0))
        if right is not None:
            self._add(self.fresh_right, steps, right)
            self.fresh_known[steps[n > 0]] = 1

    def _steps(self, kind: _Kind) -> Array:
        return np.minimum([c.step for c in kind.calls], self._width - 1)

    def batch_sizes(self) -> list[int]:
        samples = self.samples[:-1][self.calls[:-1] > 0]
        return [int(n) for n in samples.tolist()]

    def columns(self) -> dict[str, list[float]]:
        some = self.calls > 0
        unequal = np.nansum(self.rare_n[:-1]) <= RARE * np.nansum(self.n[:-1])
        with np.errstate(invalid="ignore", divide="ignore"):
            columns = {
                "n": np.where(some, self.n, np.nan),
                "task_loss": np.where(self.calls == 1, self.single, self.loss / self.n),
                "accuracy": np.where(some, self.right / np.maximum(1.0, self.answers), np.nan),
                "majority": self.majority,
                "r2_error": np.where(self.errors > 0, self.error, np.nan),
                "fresh_n": self.fresh_n,
                "fresh_correct": np.where(self.fresh_known > 0, self.fresh_right, np.nan),
                "fresh_loss": np.where(self.fresh_n > 0, self.fresh_loss / self.fresh_n, np.nan),
                "rare_n": np.where(some & unequal, self.rare_n, np.nan),
                "rare_correct": np.where(some & unequal, self.rare_right, np.nan),
            }
        # A column without a number says as much when it is left out.
        told = {name: column[:-1] for name, column in columns.items()}
        return {n: c.tolist() for n, c in told.items() if not np.isnan(c).all()}


def _answers(kind: _Kind) -> Any:
    """Targets that count, by call."""
    return kind.kept.sum(1) if kind.kept is not None else np.full(len(kind.calls), kind.n_guess)


def _rare(
    truth: torch.Tensor,
    right: torch.Tensor,
    counts: torch.Tensor | None,
    commonest: torch.Tensor | None,
) -> torch.Tensor | None:
    """How many answers are of another class than the commonest, and how many of these are right,
    ``[B, 2]``.

    None where a sample has more than one answer.
    """
    if commonest is None or truth.dim() < 2 or truth[0].numel() != truth.shape[1]:
        return None
    rare = truth != commonest
    if counts is not None:
        rare = rare & counts
    return torch.stack([rare.flatten(1).sum(1), (rare & right).flatten(1).sum(1)], dim=1)


def _by_sample(kind: _Kind, flags: torch.Tensor) -> torch.Tensor:
    """How many of the flags ``[B, ...]`` of each sample are up, or of all where they cannot be told
    apart."""
    batch, each = kind.calls[0].batch, flags[0].numel()
    rows = batch.n if batch is not None and each % batch.n == 0 else 1
    return flags.reshape(len(kind.calls), rows, -1).sum(2)


def _fetched(
    kinds: Sequence[_Kind], calls: Sequence[_Call], seen: SeenSamples
) -> dict[Batch, Array]:
    """Replace the tensors of ``kinds`` by arrays; the checksums of the calls' batches."""
    fields = [
        (kind, name)
        for kind in kinds
        for name in ("loss", "right", "kept", "majority", "rare", "error")
        if getattr(kind, name) is not None
    ]
    batches = {c.batch: None for c in calls if c.batch is not None}
    sums = {batch: batch.known_sums(seen) for batch in batches}
    told = {batch: tensor for batch, tensor in sums.items() if tensor is not None}
    arrays = fetch_arrays([*(getattr(kind, name) for kind, name in fields), *told.values()])
    for (kind, name), array in zip(fields, arrays, strict=False):
        setattr(kind, name, array)
    return dict(zip(told, arrays[len(fields) :], strict=True))
