"""The seams of schedulers, loaded weights, compilation and seeds.

The table of every patch is in `sweeper.program.seams`, which calls these.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sweeper.program import seeds
from sweeper.program.session import Session

Patch = Callable[[Any, str, Callable[[Any], Any]], None]
"""``patch(owner, name, make)``: puts ``make(original)`` in place of ``owner.name``."""


def patch_model_facts(patch: Patch, current: Callable[[], Session | None]) -> None:
    """Schedulers, loaded weights, compilation."""

    def announcing(method: str, name_of: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            @functools.wraps(original)
            def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
                result = original(self, *args, **kwargs)
                session = current()
                if session:
                    session.notify(method, *name_of(self))
                return result

            return wrapper

        return make

    from torch.optim.lr_scheduler import LRScheduler

    patch(LRScheduler, "__init__", announcing("scheduler_built", lambda s: (type(s).__name__,)))
    patch(torch.nn.Module, "load_state_dict", announcing("weights_loaded", lambda s: ()))

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


def patch_seeds(patch: Patch, watched: Callable[[], bool]) -> None:
    """Every way to seed a generator, while ``watched`` says so."""

    def while_watched(replacement: Any) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            @functools.wraps(original)
            def seeded(*args: Any, **kwargs: Any) -> Any:
                return (replacement if watched() else original)(*args, **kwargs)

            return seeded

        return make

    patch(torch, "manual_seed", while_watched(seeds.torch_manual_seed))
    patch(torch.random, "manual_seed", while_watched(seeds.torch_manual_seed))
    patch(torch, "seed", while_watched(seeds.torch_seed))
    patch(torch, "Generator", lambda original: seeds.ShiftedGenerator)
    patch(np.random, "seed", while_watched(seeds.numpy_seed))
    patch(np.random, "default_rng", while_watched(seeds.numpy_default_rng))
    patch(random, "seed", while_watched(seeds.random_seed))
