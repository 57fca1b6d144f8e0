"""Names under which modules already hold a function that is patched: ``from torch.nn.functional
import cross_entropy`` before the watching began."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

OURS = ("torch", "sweeper")
"""Packages whose own names are left as they are: torch's are patched where they are looked up."""


def patch_aliases(
    patched: Iterable[tuple[Any, str, Any]], patch: Callable[[Any, str, Callable[[Any], Any]], None]
) -> None:
    """Put the replacements also where modules hold the originals by name.

    Args:
        patched: (owner, name, original) of every patch in place; those of modules count.
        patch: ``patch(owner, name, make)``, so that these are undone with the others.
    """
    replacements = {
        id(original): getattr(owner, name)
        for owner, name, original in patched
        if isinstance(owner, ModuleType) and callable(original) and not isinstance(original, type)
    }
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or module.__name__.partition(".")[0] in OURS:
            continue
        for name, value in list(vars(module).items()):
            if id(value) in replacements and _is_function(value):
                patch(module, name, lambda original: replacements[id(original)])


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType) or type(value).__name__ == "builtin_function_or_method"
