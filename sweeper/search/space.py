"""Search spaces: TOML files that narrow the remedies' own ranges and never define behaviour.

    title = "what it is"              # optional
    max_changes = 3                   # how many remedies one fix may combine
    include = ["optimizer", ...]      # only these; left out: every remedy
    exclude = ["residual"]

    [learning_rate]                   # a remedy with one parameter: its range
    low = 1e-6
    high = 1e-4

    [optimizer]
    choices = ["adam", "adamw"]

    [clip_norm]                       # a remedy with several parameters: a range for each
    max_norm = { low = 0.1, high = 5.0 }
    norm_type = { choices = [2.0] }

``low`` and ``high`` may lie outside a remedy's default range but not outside its hard limits.
Choices are kept as far as the program offers them.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.types import Dimension, Facts, Scalar, UsageError

if TYPE_CHECKING:
    from sweeper.remedies import Remedy

DEFAULT = "default"
MOST_CHANGES = 12
"""Hard limit of ``max_changes``: fixes of more parts are past any explanation."""

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE.parent / "search_spaces", _PACKAGE / "_data" / "search_spaces")
_TOP = ("title", "max_changes", "include", "exclude")
_RANGE = ("low", "high", "choices")


@dataclass(frozen=True, kw_only=True)
class Range:
    """What a file says about one parameter; None where it says nothing."""

    low: float | None = None
    high: float | None = None
    choices: tuple[Scalar, ...] | None = None

    def narrow(self, dimension: Dimension) -> Dimension | None:
        """The dimension as the file wants it, inside its hard limits; None when nothing is left."""
        if dimension.kind == "choice":
            wanted = dimension.choices if self.choices is None else self.choices
            kept = tuple(c for c in wanted if c in dimension.choices)
            return replace(dimension, choices=kept) if kept else None
        if self.choices is not None:
            inside = [
                c for c in self.choices
                if isinstance(c, (int, float)) and dimension.hard_low <= c <= dimension.hard_high
            ]  # fmt: skip
            return Dimension(kind="choice", choices=tuple(inside)) if inside else None
        low = max(dimension.low if self.low is None else self.low, dimension.hard_low)
        high = min(dimension.high if self.high is None else self.high, dimension.hard_high)
        return replace(dimension, low=low, high=high) if low <= high else None


@dataclass(frozen=True, kw_only=True)
class Space:
    """Which remedies are tried, and in which ranges."""

    title: str = ""
    source: str = ""
    """The file it came from."""
    max_changes: int = 4
    remedies: Mapping[str, Remedy]
    """The remedies that the file lets in."""
    ranges: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """Remedies that the file keeps out."""

    def applicable(self, facts: Facts) -> tuple[dict[str, dict[str, Dimension]], dict[str, str]]:
        """Remedy -> parameter -> range for this program, and remedy -> why it does not apply."""
        dimensions: dict[str, dict[str, Dimension]] = {}
        refused = dict.fromkeys(self.left_out, f"left out by the search space {self.title!r}")
        for name, remedy in self.remedies.items():
            reason = facts.refusals.get(name) or remedy.refusal(facts)
            if reason:
                refused[name] = reason
                continue
            narrowed = self._narrowed(name, remedy.space(facts))
            if isinstance(narrowed, str):
                refused[name] = narrowed
            else:
                dimensions[name] = narrowed
        return dimensions, refused

    def _narrowed(self, name: str, own: Mapping[str, Dimension]) -> dict[str, Dimension] | str:
        result: dict[str, Dimension] = {}
        for parameter, dimension in own.items():
            wanted = self._range_of(name, parameter, len(own))
            narrowed = wanted.narrow(dimension)
            if narrowed is None:
                return f"the search space {self.title!r} leaves no {parameter} for this program"
            result[parameter] = narrowed
        return result

    def _range_of(self, name: str, parameter: str, count: int) -> Range:
        ranges = self.ranges.get(name, {})
        if parameter in ranges:
            return ranges[parameter]
        return ranges.get("", Range()) if count == 1 else Range()


def known_spaces() -> dict[str, Path]:
    """Name -> file of every shipped space."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def load_space(
    name_or_path: str | None = None, remedies: Mapping[str, Remedy] | None = None
) -> Space:
    """Read a shipped space by name or any space by path; None is the default space.

    Raises:
        UsageError: no such space; unknown keys; values of a wrong type or outside hard limits.
    """
    if remedies is None:
        from sweeper.remedies import all_remedies

        remedies = all_remedies()
    path = _locate(name_or_path or DEFAULT)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"a search space is a readable TOML file, got {error} in {path}") from None
    return _Reader(path, remedies).space(data)


def _locate(name: str) -> Path:
    spaces = known_spaces()
    if name in spaces:
        return spaces[name]
    path = Path(name)
    if path.is_file():
        return path
    raise UsageError(
        f"--space names a shipped space or a file, got {name!r}{nearest(name, spaces)}"
    )


def nearest(word: str, known: Collection[str]) -> str:
    """``; did you mean 'x'?`` with the closest known name, else the list of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"


class _Reader:
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
