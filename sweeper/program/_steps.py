"""What a step may hold: a closure that computes its gradients, or the step of a parent class.

LBFGS evaluates the closure several times in one step; Lightning hands one to every optimizer, which
runs the forward pass, clears the gradients, goes backward and clips. The gradients are final when
the closure has returned, not when the step begins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sweeper.program.session import Session

Closure = Callable[[], Any]


class Outermost:
    """Which step of an optimizer is under way: torch's hooks fire for ``super().step()`` too.

    A step is known by the frame from which torch calls the hooks. A frame that is no longer on the
    stack belongs to a step that raised.
    """

    def __init__(self) -> None:
        self._frames: dict[int, FrameType] = {}

    def begins(self, optimizer: torch.optim.Optimizer) -> bool:
        """Called by the hook before a step: False inside another step of the same optimizer."""
        known = self._frames.get(id(optimizer))
        caller = frame = sys._getframe(2)
        while known is not None and frame.f_back is not None:
            frame = frame.f_back
            if frame is known:
                return False
        self._frames[id(optimizer)] = caller
        return True

    def ends(self, optimizer: torch.optim.Optimizer) -> bool:
        """Called by the hook after a step: True where its beginning was the outermost."""
        if self._frames.get(id(optimizer)) is not sys._getframe(2):
            return False
        del self._frames[id(optimizer)]
        return True

    def clear(self) -> None:
        self._frames.clear()


def closure_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Closure | None:
    """The closure among a step's arguments (``args`` begin with the optimizer), or None."""
    given = args[1] if len(args) > 1 else kwargs.get("closure")
    return given if callable(given) else None


def with_closure(
    args: tuple[Any, ...], kwargs: dict[str, Any], closure: Closure
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with another closure."""
    if len(args) > 1:
        return (args[0], closure, *args[2:]), kwargs
    return args, {**kwargs, "closure": closure}


def watched(session: Session, optimizer: torch.optim.Optimizer, closure: Closure) -> Closure:
    """The closure with the seam before the step behind its first evaluation.

    At further evaluations only what the fix does to gradients is done again. While the closure
    runs, the parameter groups hold the program's own values.
    """
    first = True

    def evaluate() -> Any:
        nonlocal first
        session.take_back_values()
        value = closure()
        if first:
            first = False
            session.models.find(None)
            session.seam_before_step(optimizer)
        else:
            session.seam_before_step_again(optimizer)
        return value

    return evaluate
