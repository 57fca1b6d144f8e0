"""``nightly.toml``: which programs and logs are looked at every night, and how.

[defaults]                    # each key may stand in a program too
budget = "10m"

[[program]]
name = "digits"               # default: the program's own name
path = "train.py"             # relative to this file; or module = "package.train"
args = ["--epochs", "3"]

[[log]]
name = "cluster runs"
glob = "logs/*.csv"

[notify]
urls = ["mailto://..."]       # told by apprise when something changes
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.program.target import parse_program
from sweeper.search.space import load_space, nearest
from sweeper.types import Program, UsageError
from sweeper.units import seconds

_TOP = ("title", "defaults", "program", "log", "notify")
_SETTINGS = ("budget", "space", "trials", "steps", "seeds", "allow_side_effects")
_PROGRAM = ("name", "path", "module", "args", *_SETTINGS)
_LOG = ("name", "glob", "columns", "classes", "task")
_NOTIFY = ("urls",)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One program of the list with its settings."""

    name: str
    program: Program
    budget: float | None = 600.0
    space: str | None = None
    trials: int = 40
    steps: int | None = None
    seeds: int = 5
    allow_side_effects: bool = False
    refused: str = ""
    """Why it is not looked at as it lies there now, or the empty string."""


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """Logs that others write."""

    name: str
    glob: str
    columns: str | None = None
    classes: int | None = None
    task: str | None = None


@dataclass(frozen=True, kw_only=True)
class NightlyList:
    """What one file names."""

    path: Path
    title: str
    programs: tuple[Entry, ...]
    logs: tuple[LogEntry, ...]
    notify: tuple[str, ...] = field(repr=False, default=())
    """URLs may hold secrets: they are not shown."""

    @property
    def state(self) -> Path:
        """History, studies and index page."""
        return self.path.parent / ".sweeper" / f"nightly-{self.path.stem}"


def read_list(path: Path) -> NightlyList:
    """Read and check a whole list before anything is run.

    Raises:
        UsageError: file, key, value, name or program is wrong; rule, value and place are named.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"LIST must be a file that can be read, got {path}: {error.strerror}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"LIST must be valid TOML, got {path}: {error}") from None
    return _Reader(path.absolute()).read(data)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, data: Mapping[str, Any]) -> NightlyList:
        self._keys(data, _TOP, "the top level")
        defaults = self._table(data, "defaults")
        self._keys(defaults, _SETTINGS, "[defaults]")
        notify = self._table(data, "notify")
        self._keys(notify, _NOTIFY, "[notify]")
        programs = tuple(
            self._entry({**defaults, **table}, f"[[program]] {number}")
            for number, table in enumerate(self._tables(data, "program"), start=1)
        )
        logs = tuple(
            self._log(table, f"[[log]] {number}")
            for number, table in enumerate(self._tables(data, "log"), start=1)
        )
        if not programs and not logs:
            raise UsageError(f"a nightly list names programs or logs, got none in {self.path}")
        seen: set[str] = set()
        for name in (*(p.name for p in programs), *(log.name for log in logs)):
            if name in seen:
                raise UsageError(
                    f"names of a nightly list differ, got {name!r} twice in {self.path}"
                )
            seen.add(name)
        urls = self._texts(notify, "urls", "[notify]")
        return NightlyList(
            path=self.path, title=self._text(data, "title", "the top level", self.path.stem),
            programs=programs, logs=logs, notify=urls,
        )  # fmt: skip

    def _entry(self, table: Mapping[str, Any], place: str) -> Entry:
        self._keys(table, _PROGRAM, place)
        if ("path" in table) == ("module" in table):
            raise self._error("a program is named by either path or module", dict(table), place)
        args = self._texts(table, "args", place)
        words = (
            ["-m", self._text(table, "module", place), *args]
            if "module" in table
            else [self._text(table, "path", place), *args]
        )
        refused = ""
        try:
            program = parse_program(words, self.path.parent)
        except UsageError as error:
            broken = self._broken(table, args)
            if broken is None:
                raise UsageError(f"{error} (in {place} of {self.path})") from None
            program, refused = broken, str(error)
        space = self._text(table, "space", place) if "space" in table else None
        load_space(space)  # refused now, not in the middle of the night
        return Entry(
            name=self._text(table, "name", place, program.name), program=program, space=space,
            budget=self._budget(table, place), trials=self._count(table, "trials", place, 40),
            steps=self._count(table, "steps", place, 0) or None,
            seeds=self._count(table, "seeds", place, 5),
            allow_side_effects=self._flag(table, "allow_side_effects", place), refused=refused,
        )  # fmt: skip

    def _broken(self, table: Mapping[str, Any], args: tuple[str, ...]) -> Program | None:
        """A script that is there and cannot be run as it is now: the list is right, and the rest of
        it is looked at; None where the list itself is wrong."""
        path = self.path.parent / str(table.get("path", ""))
        if path.suffix != ".py" or not path.is_file():
            return None
        return Program(
            kind="script", name=path.stem, path=path.resolve(), target=str(path), argv=args,
            cwd=self.path.parent,
        )  # fmt: skip

    def _log(self, table: Mapping[str, Any], place: str) -> LogEntry:
        self._keys(table, _LOG, place)
        glob = self._text(table, "glob", place)
        return LogEntry(
            name=self._text(table, "name", place, glob), glob=glob,
            columns=self._text(table, "columns", place) if "columns" in table else None,
            classes=self._count(table, "classes", place, 0) or None,
            task=self._text(table, "task", place) if "task" in table else None,
        )  # fmt: skip

    def _error(self, rule: str, value: object, place: str) -> UsageError:
        return UsageError(f"{rule}, got {value!r} at {place} in {self.path}")

    def _keys(self, table: Mapping[str, Any], known: Sequence[str], place: str) -> None:
        for key in table:
            if key not in known:
                raise UsageError(
                    f"{place} of a nightly list knows {', '.join(known)}, got {key!r} "
                    f"in {self.path}{nearest(key, known)}"
                )

    def _table(self, data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = data.get(key, {})
        if not isinstance(value, dict):
            raise self._error(f"{key} is a table", value, key)
        return value

    def _tables(self, data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._error(f"{key} is written as [[{key}]] tables", value, key)
        return value

    def _text(
        self, table: Mapping[str, Any], key: str, place: str, default: str | None = None
    ) -> str:
        value = table.get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise self._error(f"{key} is a text", value, place)
        return value

    def _texts(self, table: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._error(f"{key} is a list of texts", value, place)
        return tuple(value)

    def _count(self, table: Mapping[str, Any], key: str, place: str, default: int) -> int:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or (key in table and value < 1):
            raise self._error(f"{key} is a whole number of at least 1", value, place)
        return value

    def _flag(self, table: Mapping[str, Any], key: str, place: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            raise self._error(f"{key} is true or false", value, place)
        return value

    def _budget(self, table: Mapping[str, Any], place: str) -> float | None:
        value = table.get("budget", 600.0)
        try:
            return seconds(value if isinstance(value, str) else f"{value:g}")
        except (ValueError, TypeError):
            raise self._error(
                'budget is a time such as 90, "90s", "10m" or "none"', value, place
            ) from None
