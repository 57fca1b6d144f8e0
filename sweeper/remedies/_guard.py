"""Surgery stands or falls by the program's own passes. Imports torch: child only.

Until its first steps are over, the program's forward and backward passes run under the guard. Where
one fails, the operations are taken back, last one first; the one without which the forward runs is
refused with the reason. What fails without any of them is the program's own matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from sweeper.program.models import optimizer_parameters
from sweeper.program.passes import Call, Pass
from sweeper.remedies._checkpoints import Checkpoints
from sweeper.remedies._copies import Copies
from sweeper.remedies._loading import allow_loading
from sweeper.remedies._operation import Operation

if TYPE_CHECKING:
    from sweeper.program.session import Session


def operate(session: Session, remedy: str, surgery: Callable[[Operation], None]) -> None:
    """Let ``surgery`` at the models once they are found."""
    guard = session.surgeon if isinstance(session.surgeon, Guard) else Guard(session)

    def start(roots: list[nn.Module]) -> None:
        with session.unwatched():  # a parametrised weight is a call of a module
            surgery(guard.begin(remedy, roots))
        allow_loading()

    session.on_model(start)


class Guard:
    """All surgery of one run."""

    def __init__(self, session: Session) -> None:
        session.surgeon = self
        self.session = session
        self.operations: list[Operation] = []
        self.checkpoints = Checkpoints(session)
        self._copies: Copies | None = None
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._settled = False
        session.passes.around(self.watch)
        session.states.on_load(self.state_loading)
        session.on_program_error(self.program_failed)
        session.after_step(self._settle)

    def begin(self, remedy: str, roots: list[nn.Module]) -> Operation:
        if self._copies is None:
            trained = {id(p) for p in optimizer_parameters(self.session.optimizers)}
            self._copies = Copies(roots, trained, self.session.states)
            self._buffers = [(b, b.clone()) for root in roots for b in root.buffers()]
        operation = Operation(self.session, remedy, roots, self._copies, self.checkpoints)
        self.operations.append(operation)
        return operation

    def watch(self, which: Pass, call: Call) -> Any:
        """Around a pass of the program."""
        try:
            return call()
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) or not self.operations:
                raise
            reason = f"the program's {which} pass fails with it: {_short(error)}"
            if which == "forward":
                return self._without(call, reason)
            self._refuse_all(reason)

    def _without(self, call: Call, reason: str) -> Any:
        """Take operations back until the forward runs; where it never does, its own error."""
        while self.operations:
            operation = self.operations.pop()
            operation.undo()
            self.session.applied.pop(operation.remedy, None)
            self._restore_buffers()
            try:
                call()
            except Exception:
                if not self.operations:
                    raise
            else:
                self.session.refuse(operation.remedy, reason)

    def take_back(self) -> None:
        """Everything as the program built it, last operation first."""
        for operation in reversed(self.operations):
            operation.undo()
        self._restore_buffers()

    def _refuse_all(self, reason: str) -> NoReturn:
        names = [operation.remedy for operation in self.operations]
        self.session.refused.update(dict.fromkeys(names, reason))
        self.session.refuse(names[-1], reason)

    def _restore_buffers(self) -> None:
        with torch.no_grad():
            for buffer, value in self._buffers:
                buffer.copy_(value)

    def _settle(self, optimizer: torch.optim.Optimizer) -> None:
        if self.session.passes.over and not self._settled:
            self._settled = True
            self._buffers.clear()
            for operation in self.operations:
                operation.settle()

    def program_failed(self, error: Exception) -> None:
        """An error of the program later on, at a step that it passes without surgery."""
        facts, step = self.session.facts, self.session.step
        if self.operations and facts is not None and facts.steps > step:
            reason = f"the program fails with it at step {step}: {_short(error)}"
            for operation in self.operations:
                self.session.refused.setdefault(operation.remedy, reason)

    def state_loading(self, module: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Another instance of the model is operated on before it takes the model's state; what a
        model cannot take yet is kept for its own surgery."""
        if self._copies is None:
            return self.checkpoints.put_aside(module, state)
        model = self._copies.model_of(module, state, self.session.roots)
        if model is not None:
            for operation in self.operations:
                operation.repeat(model, module)
            self._copies.pair(model, module)
        return self.checkpoints.completed(module, state)


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
