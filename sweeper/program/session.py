"""The state of one watched run inside the child process:
who listens, what the fix enforces, when to stop.

Remedies register callbacks here before the program starts;
the seams (`sweeper.program.seams`) call the methods whose names begin with ``seam_``.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sweeper.program._steps import Closure, watched
from sweeper.program.hooks import Hook
from sweeper.program.models import find_roots, optimizer_parameters
from sweeper.program.observer import Observer
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
GroupValue = Callable[[torch.optim.Optimizer, int, Any], Any]
Shape = Callable[[int, int], float]
MAX_SWALLOWED = 3
"""A program that swallows the budget's exception (bare except) so often is ended for good."""
MAX_WATCH_ERRORS = 5


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
        self.roots: list[nn.Module] = []
        self.loaders: list[Any] = []
        self.observers: list[Observer] = []
        self.applied: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, str] = {}
        self.swaps: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
        self.stop_reason = ""
        self.swallowed = 0
        self.watch_errors: list[str] = []
        self.on_abandon: Callable[[], None] = lambda: None
        self.started = time.monotonic()
        self.observing = False
        self._silent = False
        self._models_found = False
        self.given_roots: list[nn.Module] = []
        """Modules that somebody named as the trained ones, whatever holds them."""
        self.entered = False
        """A module was called with gradients, or a step came without: nothing is looked for."""
        self._entries: list[nn.Module] = []
        self._hooks: list[Any] = []
        self._optimizer_callbacks: list[Callable[[torch.optim.Optimizer], None]] = []
        self._model_callbacks: list[Callable[[list[nn.Module]], None]] = []
        self._input_callbacks: list[Callable[..., tuple[Any, Any]]] = []
        self._loader_callbacks: list[Callable[[int, dict[str, Any]], dict[str, Any]]] = []
        self._loss_callbacks: list[Callable[[LossCall], LossCall]] = []
        self._at_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self._before_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self._after_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self._clip_callbacks: list[Callable[[str, Parameters, float, float], bool]] = []
        self._clip_calls: list[Callable[[str, float, float], float | None]] = []
        self._overrides: dict[str, GroupValue] = {}
        self._lr_peak: float | None = None
        self._lr_shape: Shape | None = None
        self._restore: list[tuple[dict[str, Any], str, Any, Any]] = []
        self.overwritten: dict[str, int] = {}
        """Key of the parameter groups -> steps inside which the program undid what a fix set."""

    # -- what remedies call ------------------------------------------------------------------------

    def on_optimizer(self, callback: Callable[[torch.optim.Optimizer], None]) -> None:
        """``callback(optimizer)`` when an outermost constructor has finished.

        It may change class and groups.
        """
        self._optimizer_callbacks.append(callback)

    def on_model(self, callback: Callable[[list[nn.Module]], None]) -> None:
        """``callback(roots)`` once, before the first forward after the first optimizer.

        The place for surgery.
        """
        self._model_callbacks.append(callback)

    def on_input(self, callback: Callable[..., tuple[Any, Any]]) -> None:
        """``callback(module, args, kwargs) -> (args, kwargs)`` at every forward of a model,
        train and eval.
        """
        self._input_callbacks.append(callback)

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
        self._overrides[key] = value

    def set_lr(self, *, peak: float | None = None, shape: Shape | None = None) -> None:
        """The rate at a step is peak * shape(step, total_steps).

        Without ``shape`` the program's own shape: its rate divided by its peak.
        Without ``peak`` the program's.
        """
        self._lr_peak = peak if peak is not None else self._lr_peak
        self._lr_shape = shape or self._lr_shape

    def join_optimizer(self, new: list[nn.Parameter], like: torch.Tensor) -> None:
        """Put new parameters into the group that holds ``like``.

        No group is added: schedulers keep one value per group.
        A parameter that is in a group stays where it is.
        """
        for optimizer in self.optimizers:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            for group in optimizer.param_groups:
                if any(p is like for p in group["params"]):
                    group["params"].extend(p for p in new if id(p) not in held)
                    return
        raise ValueError("join_optimizer: `like` must be held by an optimizer")

    def confirm(self, remedy: str, **evidence: Any) -> None:
        """Record what a remedy really did (plain JSON values)."""
        self.applied.setdefault(remedy, {}).update(evidence)

    def refuse(self, remedy: str, reason: str) -> None:
        """The remedy cannot apply to this program: the run ends as not applied."""
        self.refused[remedy] = reason
        self.stop_reason = "not_applied"
        raise NotApplied(f"{remedy}: {reason}")

    def functional_swap(
        self, sites: set[str], replacement: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        """Replace activations called as functions at these `ActivationSite` names (kind call)."""
        self.swaps.update(dict.fromkeys(sites, replacement))

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
    def entries(self) -> list[nn.Module]:
        return self._entries

    def notify(self, method: str, *args: Any) -> None:
        """Call every observer; what they compute themselves passes the seams unseen.

        An observer's own error never reaches the program: it is kept in ``watch_errors``.
        """
        if self._silent:
            return
        self.observing = True
        try:
            for observer in self.observers:
                getattr(observer, method)(*args)
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
        for callback in self._optimizer_callbacks:
            callback(optimizer)
        self.notify("optimizer_built", optimizer)

    def seam_module_called(self, module: nn.Module, inputs: Iterable[torch.Tensor]) -> None:
        """Forward of a module after the first optimizer, until one has gradients:
        find models, operate, watch entries.
        """
        training = torch.is_grad_enabled()
        if self.entered or not self.optimizers or (self._models_found and not training):
            return
        wanted = {id(p) for p in optimizer_parameters(self.optimizers)}
        if not any(id(p) in wanted for p in module.parameters()):
            return  # a metric, a loss, an unrelated teacher
        self.find_models(module, inputs)
        # A validation may have come first, and have called the whole where training calls a part.
        self._enter(module)
        self.entered = training or not self.roots

    def find_models(
        self, first_called: nn.Module | None, inputs: Iterable[torch.Tensor] = ()
    ) -> None:
        """Fill ``roots`` and let remedies and observers at them.

        Random state is kept aside meanwhile.
        """
        if self._models_found:
            return
        self._models_found = True
        self.roots = self._find_roots(inputs)
        gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(9_000_001 + self.seed)
            if gpus:
                torch.cuda.manual_seed_all(9_000_001 + self.seed)
            for callback in self._model_callbacks:
                callback(self.roots)
        for module in (*self.roots, *([first_called] if first_called is not None else ())):
            # The program may call parts, not the whole:
            # a LightningModule's layers, an encoder by itself.
            self._enter(module)
        self.notify("models_found", self.roots)

    def _find_roots(self, inputs: Iterable[torch.Tensor]) -> list[nn.Module]:
        found = find_roots(optimizer_parameters(self.optimizers), inputs)
        if not self.given_roots:
            return found
        inside = {id(m) for root in self.given_roots for m in root.modules()}
        around = {id(r) for r in found if any(id(m) in inside for m in r.modules())}
        return [*self.given_roots, *(r for r in found if id(r) not in around)]

    def _enter(self, module: nn.Module) -> None:
        if any(module is entry for entry in self._entries):
            return
        self._entries.append(module)
        called = Hook(self._entry_called, on_copies=True)
        self._hooks.append(module.register_forward_pre_hook(called, with_kwargs=True))
        self._hooks.append(module.register_forward_hook(Hook(self._entry_returned)))

    def close(self) -> None:
        """Leave the program's modules as they were found; the session hears nothing any more."""
        while self._hooks:
            self._hooks.pop().remove()

    def _entry_called(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """Copies of an entry are given what the entry is given; only the entry itself is watched."""
        watched = any(module is entry for entry in self._entries)
        if not self._input_callbacks:
            if watched:
                self.notify("entry_forward", module, args, kwargs)
            return None
        for callback in self._input_callbacks:
            args, kwargs = callback(module, args, kwargs)
        if watched:
            self.notify("entry_forward", module, args, kwargs)
        return args, kwargs

    def _entry_returned(self, module: nn.Module, args: Any, output: Any) -> None:
        self.notify("entry_output", module, output)

    def seam_loader_arguments(self, index: int, arguments: dict[str, Any]) -> dict[str, Any]:
        for callback in self._loader_callbacks:
            arguments = callback(index, arguments)
        return arguments

    def seam_loss(self, call: LossCall) -> LossCall:
        for callback in self._loss_callbacks:
            call = callback(call)
        return call

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
        if not any(optimizer is o for o in self.optimizers):
            return
        self._stop_if_told()
        if self.primary is None:
            self.primary = optimizer
        for callback in self._at_step:
            callback(optimizer)
        self.notify("gradients_ready", optimizer)
        self._put_values(optimizer)
        for callback in self._before_step:
            callback(optimizer)
        self.notify("before_step", optimizer)

    def seam_closure(self, optimizer: torch.optim.Optimizer, closure: Closure) -> Closure:
        """The closure of a step that begins, watched; some optimizers read their groups first."""
        if not any(optimizer is o for o in self.optimizers):
            return closure
        self._stop_if_told()
        self._put_values(optimizer)
        return watched(self, optimizer, closure)

    def seam_before_step_again(self, optimizer: torch.optim.Optimizer) -> None:
        """New gradients inside the same step."""
        self._put_values(optimizer)
        for callback in self._before_step:
            callback(optimizer)

    def take_back_values(self) -> None:
        """The program's own values return into the parameter groups."""
        for group, key, program_value, ours in self._restore:
            if group[key] is ours or group[key] == ours:
                group[key] = program_value
            else:  # the optimizer's own step wrote it: what the fix set did not hold
                self.overwritten[key] = self.overwritten.get(key, 0) + 1
        self._restore.clear()

    def seam_after_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not any(optimizer is o for o in self.optimizers):
            return
        self.take_back_values()
        for callback in self._after_step:
            callback(optimizer)
        self.notify("after_step", optimizer)
        self.entered = True
        if optimizer is self.primary:
            self.step += 1
            if self.max_steps is not None and self.step >= self.max_steps:
                self.stop("budget")
            if self.max_seconds and time.monotonic() - self.started > self.max_seconds:
                self.stop("budget")
        self._stop_if_told()

    def stop(self, reason: str) -> None:
        """End the run at the next safe point (after the present step)."""
        self.stop_reason = self.stop_reason or reason

    def _stop_if_told(self) -> None:
        if self.stop_reason:
            self.swallowed += 1
            if self.swallowed > MAX_SWALLOWED:
                self.on_abandon()
            raise BudgetReached(self.stop_reason)

    def _put_values(self, optimizer: torch.optim.Optimizer) -> None:
        for index, group in enumerate(optimizer.param_groups):
            if self._lr_peak is not None or self._lr_shape is not None:
                self._put(group, "lr", self._rate(optimizer, index, float(group["lr"])))
            for key, function in self._overrides.items():
                if key in group:
                    self._put(group, key, function(optimizer, index, group[key]))

    def _put(self, group: dict[str, Any], key: str, value: Any) -> None:
        if isinstance(group[key], torch.Tensor):
            value = torch.full_like(group[key], value)
        self._restore.append((group, key, group[key], value))
        group[key] = value

    def _rate(self, optimizer: torch.optim.Optimizer, index: int, own: float) -> float:
        program_peak = self._program_peak(optimizer, index, own)
        peak = self._lr_peak if self._lr_peak is not None else program_peak
        if self._lr_peak is not None and index > 0:
            # Several groups keep their proportions to the first (a smaller rate for a body, say).
            first = self._program_peak(optimizer, 0, float(optimizer.param_groups[0]["lr"]))
            peak *= program_peak / first if first > 0 else 1.0
        if self._lr_shape is not None:
            return peak * self._lr_shape(self.step, self.total_steps)
        return peak * (own / program_peak if program_peak > 0 else 1.0)

    def _program_peak(self, optimizer: torch.optim.Optimizer, index: int, own: float) -> float:
        position = next((i for i, o in enumerate(self.optimizers) if o is optimizer), 0)
        if self.facts and position < len(self.facts.optimizers):
            peaks = self.facts.optimizers[position].peak_lr
            if index < len(peaks) and math.isfinite(peaks[index]) and peaks[index] > 0:
                return peaks[index]
        group = optimizer.param_groups[index]
        promised = [float(group[k]) for k in ("initial_lr", "max_lr") if k in group]
        return max([own, *promised])
