"""What a watcher of a run may implement; every method does nothing by default.

Observers read, they never write training state and never draw random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import LossCall


class Observer:
    """Called at the seams, in the order in which observers were attached."""

    def program_started(self) -> None: ...

    def optimizer_built(self, optimizer: torch.optim.Optimizer) -> None: ...

    def models_found(self, roots: list[torch.nn.Module]) -> None:
        """Before the first forward after the first optimizer; surgery is done."""

    def another_model(self) -> None:
        """Another model is trained from now on; the one that was found is done."""

    def function_applied(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """An autograd function of the program's own was applied with gradients on."""

    def loader_built(self, index: int, loader: Any) -> None: ...

    def epoch_started(self, index: int) -> None:
        """Loader ``index`` began an iteration."""

    def batch_loaded(self, index: int) -> None: ...

    def entry_forward(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """The entry module of a model is called; inputs as the model sees them."""

    def entry_output(self, module: torch.nn.Module, output: Any) -> None: ...

    def loss_computed(self, call: LossCall, value: torch.Tensor) -> None: ...

    def compared(self, left: Any, right: Any) -> None:
        """``left == right`` was evaluated without gradients (an accuracy in the making)."""

    def subtracted(self, left: torch.Tensor, right: torch.Tensor) -> None:
        """``left - right`` (or the reverse) was evaluated on tensors; ``left`` has no gradient."""

    def scored(self, kind: str, true: Any, given: Any) -> None:
        """A metric of scikit-learn was taken; ``given`` holds ``classes``, ``scores`` or ``values``
        as the kind says."""

    def backward(self, loss: torch.Tensor) -> None:
        """Before the backward pass of a scalar, GradScaler's factor undone."""

    def program_clipped(
        self, kind: str, max_norm: float, norm_type: float, total_norm: Any
    ) -> None:
        """The program clipped.

        ``total_norm`` is what clip_grad_norm_ returned, None if skipped or by value.
        """

    def gradients_ready(self, optimizer: torch.optim.Optimizer) -> None:
        """Before a step: gradients unscaled, the program's clip done, the fix's clip not yet."""

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Before a step: everything as the optimizer will see it, overrides in place."""

    def after_step(self, optimizer: torch.optim.Optimizer) -> None: ...

    def step_skipped(self, optimizer: torch.optim.Optimizer) -> None:
        """A GradScaler refused the step because of non-finite gradients."""

    def scheduler_built(self, name: str) -> None: ...

    def compile_requested(self) -> None: ...

    def program_ended(self) -> None:
        """The program is over, by itself or by budget; the last chance to write."""


def listening(observers: Iterable[Observer], method: str) -> list[Callable[..., None]]:
    """What is called of the observers at one seam: those that do something there."""
    return [
        getattr(observer, method)
        for observer in observers
        if getattr(type(observer), method) is not getattr(Observer, method)
    ]
