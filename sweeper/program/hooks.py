"""Forward hooks of the watcher's own, which leave no trace in what a program saves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn


class Hook:
    """A forward hook, or pre-hook, for one run.

    ``copy.deepcopy(model)`` and ``pickle.dump(model)`` carry every hook along. In its place goes a
    call of the standard library that does nothing, so a saved model loads where sweeper is not.
    ``torch.save`` sees no hook at all (`laid_aside`): a load of weights only allows no such call.

    Args:
        call: what torch calls, with the arguments of a forward hook.
        on_copies: a deep copy keeps the hook (an averaged model is given what the model is given);
            else it gets the call that does nothing.
    """

    def __init__(self, call: Callable[..., Any], *, on_copies: bool = False) -> None:
        self.call = call
        self.on_copies = on_copies

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self if self.on_copies else contextlib.nullcontext().__exit__

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (contextlib.nullcontext(), "__exit__")


@contextlib.contextmanager
def laid_aside(saved: Any, roots: Iterable[nn.Module]) -> Iterator[None]:
    """No hook of the watcher in ``saved`` and ``roots`` inside the block; all are back after it."""
    aside = []
    for module in {
        id(m): m for top in (*roots, *_models_in(saved)) for m in top.modules()
    }.values():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            items = list(hooks.items())
            if any(isinstance(hook, Hook) for _, hook in items):
                aside.append((hooks, items))
                _refill(hooks, [item for item in items if not isinstance(item[1], Hook)])
    try:
        yield
    finally:
        for hooks, items in aside:
            _refill(hooks, items)


def _refill(hooks: dict[int, Any], items: list[tuple[int, Any]]) -> None:
    hooks.clear()
    hooks.update(items)


def _models_in(value: Any, depth: int = 0) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif depth < 3 and isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _models_in(item, depth + 1)
