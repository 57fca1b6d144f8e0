"""Make every k-th step of a program's optimizer a real one, over the gradients of k of its batches.
Child only."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sweeper.program.session import Session


def accumulate(session: Session, optimizer: torch.optim.Optimizer, factor: int, mean: bool) -> None:
    """Wrap ``optimizer.step`` of this instance.

    The gradients of the passed-over steps are kept in buffers of our own, so it does not matter how
    the program clears its gradients (or whether), and gradients are unscaled one by one under a
    GradScaler. The step hooks fire at real steps only. Schedulers go on at the program's pace: they
    end with the data as before.
    """
    buffers: dict[torch.Tensor, torch.Tensor] = {}
    held = 0

    def parameters() -> list[torch.Tensor]:
        return [p for group in optimizer.param_groups for p in group["params"]]

    def step(self: torch.optim.Optimizer, closure: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal held
        if closure is not None:
            session.refuse(
                "batch_size", "the program steps with a closure, which cannot be accumulated"
            )
        held += 1
        last = held == factor
        for parameter in parameters():
            if parameter.grad is None:
                continue
            kept = buffers.pop(parameter, None)
            total = parameter.grad if kept is None else parameter.grad + kept
            if last:
                parameter.grad = total / factor if mean else total
            else:
                buffers[parameter] = total.clone()
        if not last:
            return None
        held = 0
        for parameter, kept in buffers.items():  # had gradients, but none in the last batch
            parameter.grad = kept / factor if mean else kept
        buffers.clear()
        session.confirm("batch_size", accumulated=True)
        return type(self).step(
            self, *args, **kwargs
        )  # looked up now: another remedy may change the class

    # A bound method, because torch's schedulers wrap step.__func__.
    optimizer.step = types.MethodType(step, optimizer)  # type: ignore[method-assign]
