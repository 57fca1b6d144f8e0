"""The seams of schedulers, loaded weights and compilation.

The table of every patch is in `sweeper.program.seams`, which calls these.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import SWALR  # noqa: F401 - one more scheduler to be known

from sweeper.program.hooks import laid_aside
from sweeper.program.session import Session

Patch = Callable[[Any, str, Callable[[Any], Any]], None]
"""``patch(owner, name, make)``: puts ``make(original)`` in place of ``owner.name``."""


def patch_model_facts(patch: Patch, current: Callable[[], Session | None]) -> None:
    """Schedulers, loaded weights, compilation."""

    def make_scheduler(original: Any) -> Any:
        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            session = current()
            if session:
                session.notify("scheduler_built", type(self).__name__)

        return __init__

    def make_load(original: Any) -> Any:
        @functools.wraps(original)
        def load_state_dict(self: Any, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None:
                return original(self, state_dict, *args, **kwargs)

            return session.states.seam_load(
                self, state_dict, lambda state: original(self, state, *args, **kwargs)
            )

        return load_state_dict

    # Some (ReduceLROnPlateau, SequentialLR) do not call the constructor of their base class.
    for scheduler in (LRScheduler, *_subclasses(LRScheduler)):
        if "__init__" in scheduler.__dict__:
            patch(scheduler, "__init__", make_scheduler)
    patch(torch.nn.Module, "load_state_dict", make_load)

    def make_save(original: Any) -> Any:
        @functools.wraps(original)
        def save(obj: Any, *args: Any, **kwargs: Any) -> Any:
            session = current()
            with laid_aside(obj, session.roots if session else ()):
                return original(obj, *args, **kwargs)

        return save

    for owner in (torch, torch.serialization):
        patch(owner, "save", make_save)

    def make_compile(original: Any) -> Any:
        @functools.wraps(original)
        def compile(model: Any = None, *args: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None:
                return original(model, *args, **kwargs)
            session.notify("compile_requested")
            return model if model is not None else lambda function: function

        return compile

    def make_module_compile(original: Any) -> Any:
        @functools.wraps(original)
        def compile(self: Any, *args: Any, **kwargs: Any) -> None:
            session = current()
            if session is None:
                original(self, *args, **kwargs)
                return
            session.notify("compile_requested")

        return compile

    patch(torch, "compile", make_compile)
    patch(torch.nn.Module, "compile", make_module_compile)


def _subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)
