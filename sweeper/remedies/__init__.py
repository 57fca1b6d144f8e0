"""What could help: one file per remedy, each with a constant ``REMEDY``. Found by walking the
package."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from sweeper.remedies._base import Remedy
from sweeper.remedies._rates import CUSTOMARY_RATES, customary_rate
from sweeper.types import Fix, FixValue, UsageError

__all__ = ["CUSTOMARY_RATES", "Remedy", "all_remedies", "customary_rate", "validate_fix"]


@cache
def _found() -> tuple[Remedy, ...]:
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.REMEDY for module in modules)


def all_remedies() -> dict[str, Remedy]:
    """Name -> remedy, sorted by name."""
    return {remedy.name: remedy for remedy in sorted(_found(), key=lambda r: r.name)}


def validate_fix(mapping: Mapping[str, FixValue], place: str) -> Fix:
    """The fix with canonical values.

    Raises:
        UsageError: an unknown remedy (with the nearest known name) or a value out of its rule;
        ``place`` is named.
    """
    known = all_remedies()
    changes: dict[str, FixValue] = {}
    for name, value in mapping.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"a fix names known remedies, got {name!r} in {place}{hint}")
        try:
            changes[name] = known[name].validate(value)
        except UsageError as error:
            raise UsageError(f"{error} in {place}") from None
    return Fix(changes=changes)
