"""Reading a search space file: every mistake is told with rule, value, place and nearest name."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.search.space import Range, Space, nearest
from sweeper.types import Dimension, Facts, Scalar, UsageError

if TYPE_CHECKING:
    from sweeper.remedies import Remedy

MOST_CHANGES = 12
"""Hard limit of ``max_changes``: fixes of more parts are past any explanation."""

_TOP = ("title", "max_changes", "include", "exclude")
_RANGE = ("low", "high", "choices")


class Reader:
    """Checks one file's data against the remedies."""

    def __init__(self, path: Path, remedies: Mapping[str, Remedy]) -> None:
        self.path = path
        self.all = remedies

    def space(self, data: Mapping[str, Any]) -> Space:
        for key in data:
            if key not in _TOP and key not in self.all:
                raise self._error("a key is a setting or a remedy", key, key, [*_TOP, *self.all])
        include = self._names(data, "include") or tuple(self.all)
        kept = set(include) - set(self._names(data, "exclude"))
        if not kept:
            raise self._error(
                "a search space leaves at least one remedy", sorted(include), "exclude"
            )
        for key in data:
            if key in self.all and key not in kept:
                raise self._error("a range belongs to a remedy that is let in", key, key)
        return Space(
            title=self._title(data),
            source=str(self.path),
            max_changes=self._max_changes(data),
            remedies={name: r for name, r in self.all.items() if name in kept},
            ranges={k: self._ranges(k, v) for k, v in data.items() if k in self.all},
            left_out=tuple(name for name in self.all if name not in kept),
        )

    def _error(
        self, rule: str, value: object, key: str, known: Collection[str] | None = None
    ) -> UsageError:
        hint = nearest(str(value), known) if known is not None else ""
        return UsageError(f"{rule}, got {value!r} at {key} in {self.path}{hint}")

    def _title(self, data: Mapping[str, Any]) -> str:
        title = data.get("title", self.path.stem)
        if not isinstance(title, str):
            raise self._error("title is a text", title, "title")
        return title

    def _max_changes(self, data: Mapping[str, Any]) -> int:
        value = data.get("max_changes", Space.max_changes)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_CHANGES:
            raise self._error(
                f"max_changes is a whole number from 1 to {MOST_CHANGES}", value, "max_changes"
            )
        return value

    def _names(self, data: Mapping[str, Any], key: str) -> tuple[str, ...]:
        names = data.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._error(f"{key} is a list of remedies", names, key)
        for name in names:
            if name not in self.all:
                raise self._error(f"{key} names remedies", name, key, list(self.all))
        return tuple(names)

    def _ranges(self, name: str, table: object) -> dict[str, Range]:
        if not isinstance(table, dict):
            raise self._error("a remedy's range is a table", table, name)
        own = self._own(name)
        if all(key in _RANGE for key in table):
            if len(own) > 1:
                keys = sorted(table)
                raise self._error(f"{name} has the parameters {', '.join(own)}", keys, name)
            only = next(iter(own), "")
            return {only: self._range(name, only, own.get(only), table, name)}
        result = {}
        for parameter, inner in table.items():
            place = f"{name}.{parameter}"
            if own and parameter not in own:
                known = [*own, *_RANGE] if len(own) == 1 else list(own)
                raise self._error(f"{name} has no such parameter", parameter, place, known)
            if not isinstance(inner, dict):
                raise self._error("a parameter's range is a table", inner, place)
            result[parameter] = self._range(name, parameter, own.get(parameter), inner, place)
        return result

    def _own(self, name: str) -> Mapping[str, Dimension]:
        """The remedy's own ranges for a program of which nothing is known; hard limits do not
        depend on it."""
        try:
            return self.all[name].space(Facts())
        except (IndexError, KeyError, ValueError, ArithmeticError):
            return {}

    def _range(
        self,
        name: str,
        parameter: str,
        own: Dimension | None,
        table: Mapping[str, Any],
        place: str,
    ) -> Range:
        for key in table:
            if key not in _RANGE:
                raise self._error("a range has low, high or choices", key, f"{place}.{key}", _RANGE)
        choices = table.get("choices")
        if choices is not None:
            if "low" in table or "high" in table:
                raise self._error("a range has low and high, or choices", dict(table), place)
            self._check_choices(name, parameter, own, choices, f"{place}.choices")
            return Range(choices=tuple(choices))
        for key in ("low", "high"):
            if key in table:
                self._check_number(own, table[key], f"{place}.{key}")
        low, high = table.get("low"), table.get("high")
        if low is not None and high is not None and low > high:
            raise self._error(f"low is at most high ({high:g})", low, f"{place}.low")
        return Range(low=low, high=high)

    def _check_number(self, own: Dimension | None, value: object, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
            raise self._error("a border of a range is a number", value, place)
        if own is None:
            return
        if own.kind == "choice":
            listed = ", ".join(str(c) for c in own.choices)
            raise self._error(f"this parameter takes choices ({listed}), not a range", value, place)
        if not own.hard_low <= value <= own.hard_high:
            rule = f"the hard limits are {own.hard_low:g} to {own.hard_high:g}"
            raise self._error(rule, value, place)

    def _check_choices(
        self, name: str, parameter: str, own: Dimension | None, choices: object, place: str
    ) -> None:
        if not isinstance(choices, list) or not choices:
            raise self._error("choices is a list of at least one value", choices, place)
        for choice in choices:
            if not isinstance(choice, (bool, int, float, str)):
                raise self._error("a choice is a number, a text or true or false", choice, place)
            if own is None:
                continue
            if own.kind != "choice":
                self._check_number(own, choice, place)
            elif choice not in own.choices and not self._accepts(name, parameter, choice):
                known = [str(c) for c in own.choices]
                raise self._error(f"not a choice of {parameter or name}", choice, place, known)

    def _accepts(self, name: str, parameter: str, choice: Scalar) -> bool:
        """True for a choice that only some programs offer."""
        for value in (choice, {parameter: choice}):
            try:
                self.all[name].validate(value)
            except UsageError:
                continue
            return True
        return False
