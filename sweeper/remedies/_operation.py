"""The record of one surgery: what was replaced, on which copies, and the way back.

Whatever is put into a module can be copied and pickled, because programs copy and save whole
models. Imports torch: child only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sweeper.program.functions import PATH
from sweeper.program.hooks import Hook
from sweeper.remedies._checkpoints import Checkpoints
from sweeper.remedies._copies import ADDED, Copies, pairs_of

if TYPE_CHECKING:
    from sweeper.program.session import Session

TakeBack = Callable[[], None]
Change = Callable[[nn.Module], TakeBack]
_MACHINERY = frozenset(nn.Module().__dict__)
"""Parameters, buffers, parts, hooks and mode of a module: everything but its own settings."""
_ABSENT = object()


@dataclass
class Use:
    """How often a changed place was called; a hook that asks is taken away by its first answer."""

    calls: int = 0
    release: TakeBack = lambda: None

    def hit(self, *_: Any) -> None:
        self.calls += 1
        self.release()


class CountedFunction:
    """A function of one tensor whose calls are counted."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.function, self.use = function, Use()

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        self.use.hit()
        return self.function(input)


class Operation:
    """What one remedy does to the models, step by step; `undo` goes back, last step first.

    Each step is done on a module and on its copies.
    """

    def __init__(
        self,
        session: Session,
        remedy: str,
        roots: list[nn.Module],
        copies: Copies,
        checkpoints: Checkpoints,
    ) -> None:
        self.session, self.remedy, self.roots = session, remedy, roots
        self.copies, self._checkpoints = copies, checkpoints
        self.uses: list[Use] = []
        self.n_added = 0
        """Elements of new parameters in the trained models."""
        self._changes: list[tuple[nn.Module, Change]] = []
        self._take_back: list[TakeBack] = []

    def refuse(self, reason: str) -> NoReturn:
        """The remedy cannot apply."""
        self.session.refuse(self.remedy, reason)

    def refuse_lazy(self, modules: Iterable[nn.Module]) -> None:
        if any(is_lazy(p) for module in modules for p in module.parameters(recurse=False)):
            self.refuse("its layers are lazy: their shapes are known after the first forward only")

    def undo(self) -> None:
        while self._take_back:
            self._take_back.pop()()
        self._changes.clear()

    def settle(self) -> None:
        """There is no way back any more; nothing of the old is kept in memory."""
        self._take_back.clear()

    def repeat(self, module: nn.Module, fresh: nn.Module) -> None:
        """Do to ``fresh``, another instance of ``module``, what was done to it."""
        parts = dict(fresh.named_modules())
        targets = {id(part): parts.get(name) for name, part in module.named_modules()}
        for target, change in self._changes:
            if (other := targets.get(id(target))) is not None:
                change(other)

    # -- steps -------------------------------------------------------------------------------------

    def set(self, module: nn.Module, name: str, value: Any) -> None:
        """A plain attribute of the instance."""
        self._do(module, lambda m: _set(m, name, value))

    def become(self, module: nn.Module, other: nn.Module) -> None:
        """The module computes what ``other`` computes, with its class and settings.

        It stays the same object, with its name, parameters, buffers, hooks and mode.
        """
        self._do(module, lambda m: _become(m, copy.deepcopy(other)))

    def attach(self, layer: nn.Module, name: str, part: nn.Module) -> None:
        """A new part of a layer, under a name that begins with ``sweeper_``."""
        assert name.startswith(ADDED)

        def change(target: nn.Module) -> TakeBack:
            new = part
            if target is not layer:
                new = copy.deepcopy(part)
                new.requires_grad_(any(p.requires_grad for p in target.parameters()))
                self.copies.pair(part, new)
            self._checkpoints.fill(target, name, new)
            target.add_module(name, new.train(target.training))
            return lambda: delattr(target, name)

        self._do(layer, change)
        self.n_added += sum(p.numel() for p in part.parameters())

    def hook(self, module: nn.Module, hook: Any, *, before: bool = False) -> None:
        """A forward hook; the same object serves the copies, so it holds nothing of the module."""

        def change(target: nn.Module) -> TakeBack:
            register = target.register_forward_pre_hook if before else target.register_forward_hook
            return register(hook).remove

        self._do(module, change)

    def count(self, module: nn.Module) -> None:
        """See whether a changed module is called, the model's own and not its copies."""
        use = Use()
        use.release = module.register_forward_hook(Hook(use.hit)).remove
        self._take_back.append(use.release)
        self.uses.append(use)

    def remember(self, modules: Iterable[nn.Module]) -> None:
        """The values of the modules' own parameters, which will be written in place."""
        seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for module in modules:
            for target in (module, *self.copies.of(module)):
                for p in target.parameters(recurse=False):
                    if id(p) not in seen:
                        seen[id(p)] = p, p.detach().clone()

        def take_back() -> None:
            with torch.no_grad():
                for parameter, value in seen.values():
                    parameter.copy_(value)

        self._take_back.append(take_back)

    def spread(self, modules: Iterable[nn.Module]) -> None:
        """Give the copies the values of the modules' own parameters."""
        with torch.no_grad():
            for module in modules:
                for parameter, twin in pairs_of(module, self.copies):
                    twin.copy_(parameter)

    def function(
        self, table: dict[str, Any], site: str, change: Any, module: nn.Module | None
    ) -> None:
        """A change of a function that ``module`` calls (session.functions), known to its copies."""
        table[site] = change
        self._take_back.append(lambda: table.pop(site, None))
        if module is not None:
            self.set(module, PATH, site.split("|")[0])

    def join(self, new: list[nn.Parameter], like: torch.Tensor) -> None:
        """New parameters into the optimizer's group that holds ``like``."""
        join_group(self.session, new, like)
        self._checkpoints.fill_optimizers(new)
        ids = {id(p) for p in new}

        def take_back() -> None:
            for optimizer in self.session.optimizers:
                for group in optimizer.param_groups:
                    group["params"][:] = [p for p in group["params"] if id(p) not in ids]
                for parameter in new:
                    optimizer.state.pop(parameter, None)

        self._take_back.append(take_back)

    def _do(self, module: nn.Module, change: Change) -> None:
        self._changes.append((module, change))
        for target in (module, *self.copies.of(module)):
            self._take_back.append(change(target))


def join_group(session: Session, new: list[nn.Parameter], like: torch.Tensor) -> None:
    """New parameters into the optimizer's group that holds ``like``."""
    session.join_optimizer(new, like)
    for optimizer in session.optimizers:
        if isinstance(optimizer, torch.optim.Adagrad):
            _fill_adagrad(optimizer)


def _fill_adagrad(optimizer: torch.optim.Adagrad) -> None:
    """The one class whose state is made by its constructor, so that newcomers have none."""
    start = optimizer.defaults.get("initial_accumulator_value", 0)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter not in optimizer.state:
                total = torch.full_like(parameter.data, start)
                optimizer.state[parameter] = {"step": torch.tensor(0.0), "sum": total}


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    if value is _ABSENT:
        table.pop(key, None)
    else:
        table[key] = value


def _set(module: nn.Module, name: str, value: Any) -> TakeBack:
    before = module.__dict__.get(name, _ABSENT)
    _put(module.__dict__, name, value)
    return lambda: _put(module.__dict__, name, before)


def _become(module: nn.Module, other: nn.Module) -> TakeBack:
    before_class, before = type(module), dict(module.__dict__)
    settings = {k: v for k, v in other.__dict__.items() if k not in _MACHINERY}
    module.__class__ = type(other)
    module.__dict__.update(settings)
    module.__dict__.pop("forward", None)  # one set on the instance would go before the class's

    def take_back() -> None:
        module.__class__ = before_class
        for name in (*settings, "forward"):
            _put(module.__dict__, name, before.get(name, _ABSENT))

    return take_back
