"""Gradient checkpointing: a forward that trains although gradients are off, and comes again in
backward.

Reentrant checkpoints run their first forward without gradients, and every checkpoint runs its
forward a second time inside backward, on a GPU in a thread of the autograd engine where torch
function modes of the main thread are not in force.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from sweeper.program.functions import FunctionMode

if TYPE_CHECKING:
    from sweeper.program.session import Session

_inside = 0


def grad_wanted() -> bool:
    """Whether what is computed now will have gradients."""
    return torch.is_grad_enabled() or _inside > 0


def patch_checkpoints(
    patch: Callable[[Any, str, Callable[[Any], Any]], None], current: Callable[[], Session | None]
) -> None:
    """``torch.utils.checkpoint.checkpoint`` and the functions that torch does not announce."""
    import torch.utils.checkpoint as module

    def make_checkpoint(original: Any) -> Any:
        @functools.wraps(original)
        def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None or not torch.is_grad_enabled():
                return original(function, *args, **kwargs)
            return original(_again(function), *args, **kwargs)

        return checkpoint

    def make_apply(original: Any) -> Any:
        plain = original.__func__

        def apply(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
            result = plain(cls, *args, **kwargs)
            session = current()
            if session is not None and torch.is_grad_enabled():
                session.notify("function_applied", cls.__name__, args, result)
            return result

        return classmethod(apply)

    patch(module, "checkpoint", make_checkpoint)
    patch(torch.autograd.Function, "apply", make_apply)


def _again(function: Any) -> Any:
    """The function, known as a training forward whenever it runs, with the fix's activations."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        global _inside
        _inside += 1
        try:
            with FunctionMode.in_force():
                return function(*args, **kwargs)
        finally:
            _inside -= 1

    return run
