"""What every night found, in one SQLite file: verdicts, fixes, metrics, and since when."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType

from sweeper.report.nightly_result import Found, Night
from sweeper.types import UsageError

SCHEMA = 1
WAIT_SECONDS = 10.0
RESUMED_SECONDS = 20 * 3600.0
"""A night that was cut off goes on within this; later it is another night."""

_TABLES = """
create table if not exists nights (
    id integer primary key, list text not null, started real not null, finished real
);
create table if not exists entries (
    night integer not null references nights(id), name text not null, entry text not null,
    primary key (night, name)
);
"""


class History:
    """The file of one nightly list; opened by whoever holds the list's lock."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError for a damaged file or one of a newer version."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
            (version,) = self._connection.execute("pragma user_version").fetchone()
            if version <= SCHEMA:
                self._connection.executescript(_TABLES)
                self._connection.execute(f"pragma user_version = {SCHEMA}")
                self._connection.commit()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"the nightly history must be readable, got {path}: {error}") from None
        if version > SCHEMA:
            self._connection.close()
            raise UsageError(
                f"{path} must have schema <= {SCHEMA}, got {version}: written by a newer sweeper"
            )

    def __enter__(self) -> History:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def begin(self, digest: str, now: float) -> Night:
        """The night that was cut off, if it is of the same list and young enough, else a new one.

        ``digest`` is of the list, ``now`` in seconds of `time.time`.
        """
        row = self._connection.execute(
            "select id, list, started, finished from nights order by id desc limit 1"
        ).fetchone()
        if row and row[1] == digest and row[3] is None and now - row[2] < RESUMED_SECONDS:
            return Night(id=row[0], started=row[2], finished=None)
        with self._connection:
            cursor = self._connection.execute(
                "insert into nights (list, started) values (?, ?)", (digest, now)
            )
        assert cursor.lastrowid is not None
        return Night(id=cursor.lastrowid, started=now, finished=None)

    def finish(self, night: Night, now: float) -> None:
        with self._connection:
            self._connection.execute("update nights set finished = ? where id = ?", (now, night.id))

    def add(self, night: Night, found: Found) -> None:
        """Keep what was found; a second result of the same night and name replaces the first."""
        text = json.dumps(asdict(found), allow_nan=False)
        with self._connection:
            self._connection.execute(
                "insert or replace into entries values (?, ?, ?)", (night.id, found.name, text)
            )

    def nights(self) -> list[Night]:
        """Every night, oldest first."""
        rows = self._connection.execute("select id, started, finished from nights order by id")
        return [Night(id=i, started=s, finished=f) for i, s, f in rows]

    def of_night(self, night: Night) -> dict[str, Found]:
        """Name -> what that night found."""
        rows = self._connection.execute(
            "select entry from entries where night = ? order by name", (night.id,)
        )
        return {found.name: found for found in map(_found, rows)}

    def by_name(self) -> dict[str, list[tuple[Night, Found]]]:
        """What all nights found on every name, oldest first: read once, as a history of years is
        long."""
        rows = self._connection.execute(
            "select id, started, finished, entry from entries join nights on nights.id = night "
            "order by id, name"
        )
        found: dict[str, list[tuple[Night, Found]]] = {}
        for number, started, finished, entry in rows:
            one = _found((entry,))
            night = Night(id=number, started=started, finished=finished)
            found.setdefault(one.name, []).append((night, one))
        return found

    def before(self, night: Night, name: str) -> Found | None:
        """What the last night before found on this name."""
        row = self._connection.execute(
            "select entry from entries where name = ? and night < ? order by night desc limit 1",
            (name, night.id),
        ).fetchone()
        return _found(row) if row else None


def _found(row: tuple[str]) -> Found:
    data = json.loads(row[0])
    known = {field.name for field in fields(Found)}
    return Found(**{k: v for k, v in data.items() if k in known})
