"""The state of one watched run inside the child process:
who listens, what the fix enforces, when to stop.

Remedies register callbacks here before the program starts;
the seams (`sweeper.program.seams`) call the methods whose names begin with ``seam_``.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import nn

from sweeper.program._steps import Closure, watched
from sweeper.program.finding import ModelCallback, Models
from sweeper.program.functions import FunctionChanges
from sweeper.program.graph import tensors_in
from sweeper.program.groups import GroupValue, GroupValues, Shape
from sweeper.program.models import optimizer_parameters
from sweeper.program.observer import Observer, listening
from sweeper.program.passes import Passes
from sweeper.program.states import States
from sweeper.types import Facts


class BudgetReached(BaseException):
    """Ends a run at its budget.

    Not an Exception, so that a program's ``except Exception`` lets it pass.
    """


class NotApplied(BaseException):
    """Ends a run in which a remedy found that it cannot apply."""


@dataclass(frozen=True, kw_only=True)
class LossCall:
    """One call of a loss function of torch.nn.functional."""

    function: str
    input: torch.Tensor
    target: torch.Tensor
    options: Mapping[str, Any] = field(default_factory=dict)
    """The other arguments by name (weight, reduction, label_smoothing, ignore_index, ...)."""


Parameters = list[torch.Tensor]
MAX_SWALLOWED = 3
"""A program that swallows the budget's exception (bare except) so often is ended for good."""
MAX_WATCH_ERRORS = 5
TAKES_SPARSE = ("SGD", "Adagrad", "SparseAdam")
"""Optimizers of torch that take sparse gradients."""
NOBODY: tuple[int, list[Callable[..., None]]] = (0, [])
FIRST_STEPS = 2
"""Steps until the passes of the program count as tried: with several optimizers each has gone."""


class Session:
    """One run. Lists are filled as the program builds its objects."""

    def __init__(
        self,
        *,
        facts: Facts | None = None,
        seed: int = 0,
        max_steps: int | None = None,
        max_seconds: float | None = None,
        planned_steps: int | None = None,
    ) -> None:
        self.facts = facts
        self.seed = seed
        self.max_steps = max_steps
        self.max_seconds = max_seconds
        self.total_steps = planned_steps or max_steps or 1000
        self.step = 0
        self.optimizers: list[torch.optim.Optimizer] = []
        self.primary: torch.optim.Optimizer | None = None
        """The first that steps, or the one that was built to go on when it had ended."""
        self.models = Models(self)
        self.groups = GroupValues(facts, self.optimizers)
        self.remedy = ""
        """Name of the remedy whose ``apply`` is running."""
        self.trains_again = False
        """It goes on to train another model, which is not looked at."""
        self.loaders: list[Any] = []
        self.observers: list[Observer] = []
        self._listeners: dict[str, tuple[int, list[Callable[..., None]]]] = {}
        self.applied: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, str] = {}
        self.functions = FunctionChanges()
        self.passes = Passes()
        self.states = States()
        self.surgeon: Any = None
        """What the surgery of all remedies has in common, made by the first of them."""
        self.stop_reason = ""
        self.in_charge = True
        """The run may be ended; where it may not, the session falls silent instead."""
        self.swallowed = 0
        self.watch_errors: list[str] = []
        self.on_abandon: Callable[[], None] = lambda: None
        self.started = time.monotonic()
        self.observing = False
        self.unobserved = False
        """Nobody looks closely at the present step: its forward and its losses pass unseen."""
        self._silent = False
        self.in_backward = False
        """The autograd engine is at work: what steps or is computed now belongs to it."""
        self.with_closure = False
        """The program steps with a closure."""
        self.by_hand = False
        """The program hands gradients to its parameters itself."""
        self._hand_made: torch.Tensor | None = None  # the loss of torch.autograd.grad
        self._built: dict[int, int] = {}  # id of an optimizer -> steps made when it was built
        self._joined: set[int] = set()  # id of each parameter that we put into a group
        self._optimizer_callbacks: list[Callable[[torch.optim.Optimizer], None]] = []
        self._input_callbacks: list[Callable[..., tuple[Any, Any]]] = []
        self._loader_callbacks: list[Callable[[int, dict[str, Any]], dict[str, Any]]] = []
        self._loss_callbacks: list[Callable[[LossCall], LossCall]] = []
        self._at_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self._before_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self._after_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self._clip_callbacks: list[Callable[[str, Parameters, float, float], bool]] = []
        self._clip_calls: list[Callable[[str, float, float], float | None]] = []
        self._error_callbacks: list[Callable[[Exception], None]] = []

    # -- what remedies call ------------------------------------------------------------------------

    def on_optimizer(self, callback: Callable[[torch.optim.Optimizer], None]) -> None:
        """``callback(optimizer)`` when an outermost constructor has finished.

        It may change class and groups.
        """
        self._optimizer_callbacks.append(callback)

    def on_model(self, callback: ModelCallback, *, first: bool = False) -> None:
        """``callback(roots)`` once, before the first forward after the first optimizer.

        The place for surgery; ``first`` puts it before those of the other remedies.
        """
        callbacks = self.models.callbacks
        faults = sum(not remedy for remedy, _ in callbacks)  # they belong to the program
        callbacks.insert(faults if first else len(callbacks), (self.remedy, callback))
        self._reaches_models()

    def on_input(self, callback: Callable[..., tuple[Any, Any]]) -> None:
        """``callback(module, args, kwargs) -> (args, kwargs)`` at every forward of a model,
        train and eval.
        """
        self._input_callbacks.append(callback)
        self._reaches_models()

    def _reaches_models(self) -> None:
        if self.remedy:
            self.models.reaching[self.remedy] = None

    def on_loader(self, callback: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
        """``callback(index, arguments) -> arguments`` of a DataLoader under construction."""
        self._loader_callbacks.append(callback)

    def on_loss(self, callback: Callable[[LossCall], LossCall]) -> None:
        """``callback(call) -> call`` before a loss function is computed."""
        self._loss_callbacks.append(callback)

    def before_step(self, callback: Callable[[torch.optim.Optimizer], None]) -> None:
        """``callback(optimizer)`` with final gradients: unscaled, the program's own clip done."""
        self._before_step.append(callback)

    def after_step(self, callback: Callable[[torch.optim.Optimizer], None]) -> None:
        """``callback(optimizer)`` after its step."""
        self._after_step.append(callback)

    def on_program_clip(self, callback: Callable[[str, Parameters, float, float], bool]) -> None:
        """``callback(kind, parameters, max_norm, norm_type)``: True skips the program's clip."""
        self._clip_callbacks.append(callback)

    def override_group(self, key: str, value: GroupValue) -> None:
        """Enforce ``group[key] = value(optimizer, index, program_value)`` at each step.

        The program's own value is restored after it.
        """
        self.groups.values[key] = value

    def set_lr(self, *, peak: float | None = None, shape: Shape | None = None) -> None:
        """The rate at a step is peak * shape(step, total_steps).

        Without ``shape`` the program's own shape: its rate divided by its peak.
        Without ``peak`` the program's.
        """
        self.groups.peak = peak if peak is not None else self.groups.peak
        self.groups.shape = shape or self.groups.shape

    def join_optimizer(self, new: list[nn.Parameter], like: torch.Tensor) -> None:
        """Put new parameters into the group that holds ``like``.

        No group is added: schedulers keep one value per group.
        A parameter that is in a group stays where it is.
        """
        reason = self._cannot_join(new, like)
        if reason and self.models.operating:
            self.refuse(self.models.operating, reason)
        for optimizer in self.optimizers:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            for group in optimizer.param_groups:
                if any(p is like for p in group["params"]):
                    joining = [p for p in new if id(p) not in held]
                    group["params"].extend(joining)
                    self._joined |= {id(p) for p in joining}
                    return
        raise ValueError("join_optimizer: `like` must be held by an optimizer")

    def _cannot_join(self, new: list[nn.Parameter], like: torch.Tensor) -> str:
        """Why the optimizer of ``like`` cannot hold the parameters as well, or empty."""
        if self.facts and self.facts.steps_in_backward:
            return "its optimizers step inside of backward and would miss what is added"
        owners = [o for o in self.optimizers if any(p is like for p in optimizer_parameters([o]))]
        name = type(owners[0]).__name__ if owners else ""
        if name == "SparseAdam":
            return "its SparseAdam takes sparse gradients only"
        if name == "Muon" and any(p.dim() != 2 for p in new):
            return "its Muon takes matrices only"
        if name not in TAKES_SPARSE and self.models.looked_up(new):
            return f"its {name} takes no sparse gradients, which an embedding of the model has"
        return ""

    def on_program_error(self, callback: Callable[[Exception], None]) -> None:
        """``callback(error)`` when an error of the program has ended the run."""
        self._error_callbacks.append(callback)

    def confirm(self, remedy: str, **evidence: Any) -> None:
        """Record what a remedy really did (plain JSON values)."""
        self.applied.setdefault(remedy, {}).update(evidence)

    def refuse(self, remedy: str, reason: str) -> NoReturn:
        """The remedy cannot apply to this program: surgery is undone, the run ends as not
        applied."""
        if self.surgeon is not None:
            self.surgeon.take_back()
        self.refused[remedy] = reason
        self.stop_reason = "not_applied"
        raise NotApplied(f"{remedy}: {reason}")

    def refuse_program(self, reason: str) -> None:
        """The program cannot be watched at all: the run ends as one without an optimizer."""
        self.refused["program"] = reason
        self.stop_reason = "no_optimizer"
        raise BudgetReached(self.stop_reason)

    # -- what faults call as well: what they do counts as the program's own ------------------------

    def at_step(self, callback: Callable[[torch.optim.Optimizer], None]) -> None:
        """``callback(optimizer)`` at a step, before anything is read or enforced."""
        self._at_step.append(callback)

    def on_clip_call(self, callback: Callable[[str, float, float], float | None]) -> None:
        """``callback(kind, max_norm, norm_type)``: the limit that the program's clip shall have.

        None is as if the program did not clip.
        """
        self._clip_calls.append(callback)

    # -- what the seams call -----------------------------------------------------------------------

    @property
    def roots(self) -> list[nn.Module]:
        """The trained models, most parameters first; empty until they are found."""
        return self.models.roots

    @property
    def entries(self) -> list[nn.Module]:
        """The modules whose calls are watched."""
        return self.models.entries

    @property
    def given_roots(self) -> list[nn.Module]:
        """Modules that somebody named as the trained ones, whatever holds them."""
        return self.models.given

    @given_roots.setter
    def given_roots(self, modules: list[nn.Module]) -> None:
        self.models.given = modules

    @property
    def finished(self) -> bool:
        """The program's training is over by itself, or was so until now."""
        return self.stop_reason in ("", "finished")

    @property
    def overwritten(self) -> dict[str, int]:
        """Key of the parameter groups -> steps inside which the program undid what a fix set."""
        return self.groups.overwritten

    def notify(self, method: str, *args: Any) -> None:
        """Call every observer; what they compute themselves passes the seams unseen.

        An observer's own error never reaches the program: it is kept in ``watch_errors``.
        """
        if self._silent:
            return
        known, listeners = self._listeners.get(method, NOBODY)
        if known != len(self.observers):
            listeners = listening(self.observers, method)
            self._listeners[method] = len(self.observers), listeners
        if not listeners:
            return
        self.observing = True
        try:
            for listener in listeners:
                listener(*args)
        except Exception:
            if len(self.watch_errors) < MAX_WATCH_ERRORS:
                self.watch_errors.append(traceback.format_exc())
        finally:
            self.observing = False

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Inside, models and losses that are called pass the seams unseen and unchanged."""
        before, callbacks = (self.observing, self._silent), self._input_callbacks
        self.observing = self._silent = True
        self._input_callbacks = []
        try:
            yield
        finally:
            (self.observing, self._silent), self._input_callbacks = before, callbacks

    def seam_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizers.append(optimizer)
        self._built[id(optimizer)] = self.step
        for callback in self._optimizer_callbacks:
            callback(optimizer)
        self.notify("optimizer_built", optimizer)
        self.models.optimizer_built()

    def close(self) -> None:
        """Leave the program's modules as they were found; the session hears nothing any more."""
        self.models.close()

    def seam_group_added(self, optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> None:
        """The program adds a group: parameters that we put elsewhere before move into it."""
        new = {id(p) for p in group["params"]} & self._joined
        if not new:
            return
        for known in self.optimizers if any(optimizer is o for o in self.optimizers) else ():
            for old in known.param_groups:
                old["params"][:] = [p for p in old["params"] if id(p) not in new]
        self._joined -= new

    def entry_called(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """Copies of an entry are given what it is given; only the entry itself is watched."""
        if not self._input_callbacks:
            if self.unobserved and torch.is_grad_enabled():
                return None
            for entry in self.models.entries:
                if module is entry:
                    self.notify("entry_forward", module, args, kwargs)
                    break
            return None
        watched = any(module is entry for entry in self.entries)
        for callback in self._input_callbacks:
            args, kwargs = callback(module, args, kwargs)
        if watched:
            self.notify("entry_forward", module, args, kwargs)
        return args, kwargs

    def entry_returned(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.unobserved and torch.is_grad_enabled():
            return
        self.notify("entry_output", module, output)

    def seam_loader_arguments(self, index: int, arguments: dict[str, Any]) -> dict[str, Any]:
        for callback in self._loader_callbacks:
            arguments = callback(index, arguments)
        return arguments

    @property
    def hears_losses(self) -> bool:
        return not self.unobserved or bool(self._loss_callbacks) or not torch.is_grad_enabled()

    def seam_loss(self, call: LossCall) -> LossCall:
        for callback in self._loss_callbacks:
            call = callback(call)
        return call

    def seam_backward(self, loss: torch.Tensor) -> None:
        self._hand_made = None
        self.notify("backward", loss)

    def seam_grad(self, outputs: Any, inputs: Any) -> None:
        """Gradients of a scalar by parameters count as a backward, unless one comes as well."""
        loss = outputs if isinstance(outputs, torch.Tensor) else next(iter(outputs), None)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
            return
        held = {id(p) for p in optimizer_parameters(self.optimizers)}
        if any(id(t) in held for t in tensors_in([inputs])):
            self._hand_made = loss

    def seam_clip_call(self, kind: str, max_norm: float, norm_type: float) -> float | None:
        limit: float | None = max_norm
        for callback in self._clip_calls:
            limit = None if limit is None else callback(kind, limit, norm_type)
        return limit

    def seam_program_clip(
        self, kind: str, parameters: Parameters, max_norm: float, norm_type: float
    ) -> bool:
        # Every callback is asked, also after one that skips the clip.
        skips = [cb(kind, parameters, max_norm, norm_type) for cb in self._clip_callbacks]
        return any(skips)

    def seam_before_step(self, optimizer: torch.optim.Optimizer) -> None:
        if optimizer not in self.optimizers:
            return
        if self.stop_reason:
            self._stop_if_told()
        if optimizer is not self.primary and self._takes_over(optimizer):
            followed, self.primary = self.primary is not None, optimizer
            if followed:
                self.models.succeeded(optimizer)
                self._stop_if_told()
        if self._hand_made is not None:
            loss, self._hand_made = self._hand_made, None
            self.by_hand = True
            self.notify("backward", loss)
        for callback in self._at_step:
            callback(optimizer)
        self.notify("gradients_ready", optimizer)
        self._put_values(optimizer)
        for callback in self._before_step:
            callback(optimizer)
        self.notify("before_step", optimizer)

    def seam_closure(self, optimizer: torch.optim.Optimizer, closure: Closure) -> Closure:
        """The closure of a step that begins, watched; some optimizers read their groups first."""
        if optimizer not in self.optimizers:
            return closure
        self._stop_if_told()
        self.with_closure = True
        self._put_values(optimizer)
        return watched(self, optimizer, closure)

    def seam_before_step_again(self, optimizer: torch.optim.Optimizer) -> None:
        """New gradients inside the same step."""
        self._put_values(optimizer)
        for callback in self._before_step:
            callback(optimizer)

    def take_back_values(self) -> None:
        """The program's own values return into the parameter groups."""
        self.groups.take_back()

    def _put_values(self, optimizer: torch.optim.Optimizer) -> None:
        groups = self.groups
        if groups.values or groups.peak is not None or groups.shape is not None:
            groups.put(optimizer, self.primary or optimizer, self.step, self.total_steps)

    def _takes_over(self, optimizer: torch.optim.Optimizer) -> bool:
        """Nobody counts the steps yet, or who does made none since this other one was built."""
        if self.primary is None:
            return True
        built = self._built.get(id(optimizer), 0)
        return 0 < built == self.step

    def seam_after_step(self, optimizer: torch.optim.Optimizer) -> None:
        if optimizer not in self.optimizers:
            return
        self.groups.take_back()
        for callback in self._after_step:
            callback(optimizer)
        self.notify("after_step", optimizer)
        self.models.entered = True
        if optimizer is self.primary and not self._silent:
            self.step += 1
            self.states.training = True
            self.passes.over = self.step >= FIRST_STEPS
            if self.max_steps is not None and self.step >= self.max_steps:
                self.stop("budget")
            if self.max_seconds and time.monotonic() - self.started > self.max_seconds:
                self.stop("budget")
        if self.stop_reason:
            self._stop_if_told()

    def seam_error(self, error: Exception) -> None:
        for callback in self._error_callbacks:
            callback(error)

    def stop(self, reason: str) -> None:
        """End the run at the next safe point (after the present step)."""
        self.stop_reason = self.stop_reason or reason

    def _stop_if_told(self) -> None:
        if self.stop_reason and not self.in_charge:
            self._silent = True
        elif self.stop_reason:
            self.swallowed += 1
            if self.swallowed > MAX_SWALLOWED:
                self.on_abandon()
            raise BudgetReached(self.stop_reason)
