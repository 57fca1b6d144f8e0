"""What can be broken on purpose: one file per fault, each with a constant ``FAULT``. Found by
walking the package."""

from __future__ import annotations

import difflib
import importlib
import json
import pkgutil
from functools import cache

from sweeper.faults._base import Fault
from sweeper.types import FixValue, UsageError

__all__ = ["Fault", "all_faults", "parse_fault"]


@cache
def _found() -> tuple[Fault, ...]:
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.FAULT for module in modules)


def all_faults() -> dict[str, Fault]:
    """Name -> fault, sorted by name."""
    return {fault.name: fault for fault in sorted(_found(), key=lambda f: f.name)}


def parse_fault(text: str) -> tuple[Fault, FixValue]:
    """``NAME`` or ``NAME=VALUE``: the fault and its canonical value.

    Raises:
        UsageError: an unknown fault (with the nearest known name) or a value out of its rule.
    """
    name, given, value = text.partition("=")
    known = all_faults()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
        raise UsageError(f"FAULT must be a known fault, got {name!r}{hint}")
    fault = known[name]
    return fault, fault.validate(_read(value)) if given else fault.default


def _read(text: str) -> FixValue:
    """A number or true where it is one, else a word."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (bool, int, float, str)) else text
