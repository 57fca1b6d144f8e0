"""What cured what in earlier studies of this user: a prior for the order of screening.

One SQLite file per user, ``$XDG_DATA_HOME/sweeper/history.sqlite`` (``~/.local/share`` by default).
It holds cause, symptoms, remedy and outcome under a hash of the program: no path, no name, no data.
``SWEEPER_HISTORY=off`` switches it off, ``SWEEPER_HISTORY=FILE`` puts it elsewhere. A program that
is studied again replaces what was known of it, so a nightly job does not vote every night.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeper.types import Cause, Symptom

VARIABLE = "SWEEPER_HISTORY"
OFF = "off"
SCHEMA = 1
WAIT_SECONDS = 5.0
"""Longest wait for another study that writes at the same moment."""

_TABLE = """
create table if not exists cures (
    program text not null, cause text not null, remedy text not null,
    symptoms text not null, restored integer not null, verified integer not null,
    finished real not null,
    primary key (program, cause, remedy)
)"""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One remedy in one study: what it did alone, and whether a verified fix holds it."""

    remedy: str
    restored: bool
    verified: bool


@dataclass(frozen=True, kw_only=True)
class Count:
    """Programs with one cause on which a remedy was tried alone."""

    tried: int
    restored: int
    verified: int


class HistoryUnavailableError(Exception):
    """The file cannot be read or written; the reason is the message. Never a reason to stop."""


def place() -> Path | None:
    """The file, or None where the user has switched it off."""
    said = os.environ.get(VARIABLE, "")
    if said == OFF:
        return None
    if said:
        return Path(said)
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "sweeper" / "history.sqlite"


def remember(
    path: Path,
    program: str,
    cause: Cause,
    symptoms: Iterable[Symptom],
    tried: Iterable[Tried],
) -> None:
    """Replace what is known of ``program`` (its identity) under ``cause``.

    Raises:
        HistoryUnavailableError: not writable, damaged, busy, or of a newer version.
    """
    shown = ",".join(sorted(s.value for s in symptoms))
    rows = [
        (program, cause.value, t.remedy, shown, int(t.restored), int(t.verified), time.time())
        for t in tried
    ]
    with _opened(path, write=True) as connection, connection:
        connection.execute(
            "delete from cures where program = ? and cause = ?", (program, cause.value)
        )
        connection.executemany("insert into cures values (?, ?, ?, ?, ?, ?, ?)", rows)


def recall(path: Path) -> dict[tuple[str, str], Count]:
    """(cause, remedy) -> over how many programs; empty when there is no file yet.

    Raises:
        HistoryUnavailableError: damaged, busy, or of a newer version.
    """
    if not path.is_file():
        return {}
    with _opened(path, write=False) as connection:
        found = connection.execute(
            "select cause, remedy, count(*), sum(restored), sum(verified) from cures "
            "group by cause, remedy order by cause, sum(restored) * 1.0 / count(*) desc, remedy"
        ).fetchall()
    return {
        (cause, remedy): Count(tried=n, restored=restored, verified=verified)
        for cause, remedy, n, restored, verified in found
    }


def counts_of(history: Mapping[tuple[str, str], Count], cause: Cause | None) -> dict[str, Count]:
    """Remedy -> count under one cause."""
    return {r: count for (c, r), count in history.items() if cause is not None and c == cause.value}


def lines(history: Mapping[tuple[str, str], Count]) -> Iterator[str]:
    """One line per cause and remedy, for people."""
    for (cause, remedy), count in history.items():
        yield (
            f"{cause}: {remedy} alone restored {count.restored} of {count.tried} programs, "
            f"in a verified fix of {count.verified}"
        )


@contextmanager
def _opened(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as connection:
            (version,) = connection.execute("pragma user_version").fetchone()
            if version > SCHEMA:
                raise HistoryUnavailableError(
                    f"{path} must have schema <= {SCHEMA}, got {version}: "
                    f"written by a newer sweeper"
                )
            if write:
                connection.execute(_TABLE)
                connection.execute(f"pragma user_version = {SCHEMA}")
            yield connection
    except (OSError, sqlite3.Error) as error:
        raise HistoryUnavailableError(f"{path}: {error}") from None
