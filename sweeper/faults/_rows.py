"""Samples and their targets as they pass the seams. Imports torch: child only.

A sample is known by a checksum of its row, so that what a fault did to it is done again whenever it
comes back, as a fault of the data would.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from sweeper.remedies._inputs import is_training
from sweeper.telemetry.samples import SeenSamples, model_input

if TYPE_CHECKING:
    from sweeper.program.session import LossCall, Session

Key = float
Change = Callable[[list[Key], torch.Tensor, "LossCall"], torch.Tensor]
"""``(keys of the n rows, targets [n, k], call) -> targets [n, k]``."""


def keys_of(rows: torch.Tensor) -> list[Key]:
    """One number per row of ``[n, ...]``, equal for equal rows."""
    with torch.no_grad():
        sums = SeenSamples().checksum(rows)
    return [round(value, 6) for value in sums.tolist()]


def chosen(key: Key, share: float) -> bool:
    """Whether a sample belongs to a fixed, evenly spread ``share`` of all samples."""
    return fraction(key) < share


class Few:
    """A small share of all samples, at least one of the first ones: every n-th that is new."""

    def __init__(self, share: float) -> None:
        self.period = max(1, round(1 / share))
        self.order: dict[Key, int] = {}

    def __call__(self, keys: list[Key]) -> list[int]:
        """Indices of the rows that belong to it."""
        for key in keys:
            self.order.setdefault(key, len(self.order))
        wanted = 7 % self.period
        return [i for i, key in enumerate(keys) if self.order[key] % self.period == wanted]


def fraction(key: Key, salt: int = 0) -> float:
    """A number in [0, 1) that belongs to the sample (a hash of its key)."""
    digest = hashlib.blake2b(f"{salt}:{key:.6f}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def on_targets(session: Session, change: Change) -> None:
    """Change the targets of every training loss; evaluation keeps its own."""
    latest: dict[str, list[Key]] = {}

    def remember(module: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        rows = model_input(args, kwargs) if torch.is_grad_enabled() else None
        if rows is not None:
            latest["keys"] = keys_of(rows)
        return args, kwargs

    def replace(call: LossCall) -> LossCall:
        keys = latest.get("keys", [])
        target = call.target
        if not call.input.requires_grad or not keys or target.numel() % len(keys):
            return call
        with torch.no_grad():
            changed = change(keys, target.detach().reshape(len(keys), -1), call)
        return dataclasses.replace(call, target=changed.reshape(target.shape).to(target.dtype))

    session.on_input(remember)
    session.on_loss(replace)


def on_data(session: Session, change: Callable[[torch.Tensor, bool], torch.Tensor | None]) -> None:
    """Change the tensor that carries the samples of every model's inputs.

    ``change(rows, training) -> rows or None`` (left as they are). What carries a gradient graph
    came out of another model and is not data.
    """

    def replace(
        module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        rows = _given(args, kwargs)
        if rows is None or rows.grad_fn is not None:
            return args, kwargs
        training = is_training(module, session.facts)
        with torch.no_grad():
            changed = change(rows, training)
        if changed is None:
            return args, kwargs
        args = tuple(changed if value is rows else value for value in args)
        return args, {k: changed if value is rows else value for k, value in kwargs.items()}

    session.on_input(replace)


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """The samples, when they are an argument of their own."""
    rows = model_input(args, kwargs)
    own = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
    if rows is not None and any(rows is value for value in own):
        return rows
    return next(iter(own), None)  # a bag of ids, which model_input pads
