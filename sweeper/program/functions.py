"""Functions of torch that the program calls, changed where it calls them.

A TorchFunctionMode sees every call, however the function was imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sweeper.program.graph import (
    ACTIVATIONS,
    ModuleStack,
    call_site,
    leave,
    modes_in_force,
    push_mode,
)
from sweeper.program.models import module_paths, path_outside

Replacement = Callable[[torch.Tensor], torch.Tensor]
Follower = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Wrapper = Callable[..., Any]
PATH = "_sweeper_path"
"""Attribute that tells a module's path where its identity does not: on copies of a model."""


@dataclass
class FunctionChanges:
    """What is done to called functions; sites are `ActivationSite` names (kind call)."""

    swaps: dict[str, Replacement] = field(default_factory=dict)
    """Site -> what is computed instead of the activation."""
    followers: dict[str, Follower] = field(default_factory=dict)
    """Site -> ``follower(input, output) -> output`` behind the activation."""
    wrappers: dict[str, list[Wrapper]] = field(default_factory=dict)
    """Name of a function of torch -> ``wrapper(name, function, *args, **kwargs)`` at each call."""

    def __bool__(self) -> bool:
        return bool(self.swaps or self.followers or self.wrappers)

    def wrap(self, names: Iterable[str], wrapper: Wrapper) -> None:
        for name in names:
            self.wrappers.setdefault(name, []).append(wrapper)


@contextmanager
def changing(
    changes: FunctionChanges, roots: Callable[[], list[nn.Module]]
) -> Iterator[FunctionMode | None]:
    """Run the block with the changes, if there are any; ``roots()`` are the models, once found."""
    if not changes:
        yield None
        return
    with ModuleStack() as stack, FunctionMode(stack, changes, roots) as mode:
        yield mode


class FunctionMode(TorchFunctionMode):
    """Makes the changes; ``count`` is how many activations were replaced."""

    entered: FunctionMode | None = None
    """The one of the present run."""

    def __init__(
        self, stack: ModuleStack, changes: FunctionChanges, roots: Callable[[], list[nn.Module]]
    ) -> None:
        super().__init__()
        self.stack, self.changes, self.roots = stack, changes, roots
        self.count = 0
        self._paths: dict[int, str] = {}

    def __enter__(self) -> FunctionMode:
        FunctionMode.entered = self
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc: Any) -> None:
        FunctionMode.entered = None
        super().__exit__(*exc)  # type: ignore[no-untyped-call]

    @classmethod
    @contextmanager
    def in_force(cls) -> Iterator[None]:
        """Change in this thread too, where the run's main thread does (autograd's own threads)."""
        mode = cls.entered
        if mode is None or mode in modes_in_force():
            yield
            return
        push_mode(mode)
        try:
            yield
        finally:
            leave(mode)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        called = getattr(func, "__name__", "")
        for wrapper in self.changes.wrappers.get(called, ()):
            func = functools.partial(wrapper, called, func)
        name = ACTIVATIONS.get(called)
        if name and (self.changes.swaps or self.changes.followers):
            site = f"{self._path()}|{name}|{call_site()}"
            swap, follower = self.changes.swaps.get(site), self.changes.followers.get(site)
            value = args[0] if args else kwargs.get("input")
            if (swap or follower) and isinstance(value, torch.Tensor):
                self.count += swap is not None
                function = swap or functools.partial(_with_input, func, args, kwargs)
                return _activated(function, follower, value, _in_place(called, args, kwargs))
        return func(*args, **kwargs)

    def _path(self) -> str:
        if not self.stack.running:
            return ""
        module = self.stack.running[-1]
        if not self._paths:
            self._paths = module_paths(self.roots())
        path: str | None = module.__dict__.get(PATH, self._paths.get(id(module)))
        return path if path is not None else path_outside(module)


def _with_input(func: Any, args: Any, kwargs: Any, value: torch.Tensor) -> Any:
    """The program's own call with another input."""
    return func(value, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"})


def _in_place(called: str, args: Any, kwargs: Any) -> bool:
    """The only flag among an activation's arguments is ``inplace``."""
    return called.endswith("_") or bool(kwargs.get("inplace")) or any(a is True for a in args[1:])


def _activated(
    function: Replacement, follower: Follower | None, value: torch.Tensor, in_place: bool
) -> torch.Tensor:
    output = function(value.clone() if in_place else value)
    if follower is not None:
        output = follower(value, output)
    # The caller may drop the result of a change in place and read its tensor again.
    return value.copy_(output) if in_place else output
