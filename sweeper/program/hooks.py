"""Forward hooks of the watcher's own, which leave no trace in what a program saves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any


class Hook:
    """A forward hook, or pre-hook, for one run.

    ``torch.save(model)`` and ``copy.deepcopy(model)`` carry every hook along. In its place goes a
    call of the standard library that does nothing, so a saved model loads where sweeper is not.

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
