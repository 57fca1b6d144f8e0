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
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.types import Dimension, Facts, Scalar, UsageError

if TYPE_CHECKING:
    from sweeper.remedies import Remedy

DEFAULT = "default"

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE.parent / "search_spaces", _PACKAGE / "_data" / "search_spaces")


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
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"a search space is a readable TOML file, got {error} in {path}") from None
    from sweeper.search.space_reader import Reader

    return Reader(path, remedies).space(data)


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
