"""A study held by a database server: ``--storage postgresql+psycopg://user:password@host/database``.

The same finished trials go there that an embedded study keeps in its journal, so that several
machines and optuna-dashboard can read them; the driver stays the only writer. What shapes this file
(measured, Optuna 5): without ``pool_pre_ping`` the first call after a server restart fails; two
first openers of an empty database collide; the server knows nothing of our lock file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial

from sweeper.types import SweeperError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection

CONNECT_SECONDS = 10
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Pauses between the tries of one write; a server that restarts is back well within their sum."""
DRIVER = "driver"
HIDDEN = "PASSWORD"
"""Stands for a password; drivers take one among the parameters of a URL too (``?password=``)."""


class ServerStudy:
    """One study on a server, with as much of `optuna.Study` as a joint study needs."""

    def __init__(
        self, url: str, folder: Path, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Open or create the study of a study folder, and hold it.

        Raises:
            UsageError: not a database URL, no driver package for it, not reachable, or held by
                another driver. No message shows the password.
        """
        self.place = masked(url)
        name = f"{folder.name}-{zlib.crc32(str(folder.resolve()).encode()):08x}"
        self._sleep = sleep
        engine_url = _parsed(url, self.place)
        server = engine_url.get_backend_name() != "sqlite"
        arguments = {"connect_timeout": CONNECT_SECONDS} if server else {}
        self._lock: Connection | None = None
        self._storage: optuna.storages.RDBStorage | None = None
        held = False
        try:
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._storage = self._opened(
                    url, {"pool_pre_ping": True, "connect_args": arguments}
                )
                held = self._hold(name)
                self._study = optuna.create_study(
                    storage=self._storage, study_name=name, direction="maximize",
                    load_if_exists=True,
                )  # fmt: skip
        except ImportError as error:
            raise UsageError(
                f"--storage needs the package of its database driver (sweeper[postgresql] brings "
                f"psycopg), got {self.place}: {error}"
            ) from None
        except Exception as error:
            self.close()
            raise UsageError(
                f"--storage must be a database that can be reached, got {self.place}: "
                f"{_reason(error, engine_url)}"
            ) from None
        if not held:
            holder = self._study.user_attrs.get(DRIVER, "an unnamed process")
            self.close()
            raise UsageError(
                f"one driver per study, got a second one in {self.place}: held by {holder}"
            )
        self._study.set_user_attr(DRIVER, f"process {os.getpid()} on {socket.gethostname()}")

    def close(self) -> None:
        """Give the study back and end every connection."""
        if self._lock is not None:
            with contextlib.suppress(Exception):  # a server that went away holds no lock either
                self._lock.close()
            self._lock = None
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None

    def _hold(self, name: str) -> bool:
        """Take the study for as long as this process lives; False when somebody else has it.

        The lock is PostgreSQL's own, so it is gone with its holder, however that ends. Other
        databases are used unlocked.
        """
        from sqlalchemy import text

        assert self._storage is not None
        engine = self._storage.engine
        if engine.dialect.name != "postgresql":
            return True
        self._lock = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        key = zlib.crc32(f"sweeper/{name}".encode())
        found = self._lock.execute(text("select pg_try_advisory_lock(:key)"), {"key": key})
        return bool(found.scalar())

    def _opened(self, url: str, engine: dict[str, Any]) -> optuna.storages.RDBStorage:
        """Open the database, make the schema; of two first openers one fails and tries again."""
        from sqlalchemy.exc import IntegrityError, ProgrammingError

        for left in (2, 1, 0):
            try:
                return optuna.storages.RDBStorage(url, engine_kwargs=engine)
            except (IntegrityError, ProgrammingError):
                if not left:
                    raise
                self._sleep(0.5)
        raise AssertionError("unreachable")

    @property
    def user_attrs(self) -> dict[str, Any]:
        return self._study.user_attrs

    def set_user_attr(self, key: str, value: object) -> None:
        self._study.set_user_attr(key, value)

    def get_trials(self, deepcopy: bool = True) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=deepcopy)

    def add_trial(self, trial: FrozenTrial) -> None:
        """Write a finished trial, again after a pause while the server is away.

        A write whose answer was lost may have been made: it is looked for before it is repeated.

        Raises:
            SweeperError: the server stays away.
        """
        for pause in (*RETRY_SECONDS, None):
            try:
                self._study.add_trial(trial)
                return
            except optuna.exceptions.StorageInternalError as error:
                if pause is None:
                    raise SweeperError(
                        f"the study's database must answer, got nothing from {self.place} for "
                        f"{sum(RETRY_SECONDS):.0f} s; the finished runs are kept in their folders, "
                        f"and the same command continues"
                    ) from error
                self._sleep(pause)
                if self._has(trial):
                    return

    def _has(self, trial: FrozenTrial) -> bool:
        wanted = trial.user_attrs.get("hash")
        try:
            known = self._study.get_trials(deepcopy=False)
        except optuna.exceptions.StorageInternalError:
            return False
        return any(t.user_attrs.get("hash") == wanted for t in known)


@contextlib.contextmanager
def opened(url: str | None, folder: Path) -> Iterator[ServerStudy | None]:
    """The study of a study folder on a server while the block lasts; None without a URL.

    Opened before the first run, a server that is not there costs seconds and not a baseline.
    Raises what `ServerStudy` raises.
    """
    study = ServerStudy(url, folder) if url is not None else None
    try:
        yield study
    finally:
        if study is not None:
            study.close()


def masked(url: str) -> str:
    """The URL without its password; a text that is no URL is not shown at all."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        return "a text that is no database URL"
    hidden = {key: HIDDEN for key in parsed.query if key.endswith("password")}
    if parsed.password is not None:
        parsed = parsed.set(password=HIDDEN)
    return parsed.update_query_dict(hidden).render_as_string(hide_password=False)


def _parsed(url: str, place: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except ArgumentError:
        raise UsageError(
            f"--storage must look like postgresql+psycopg://user:password@host/database, "
            f"got {place}"
        ) from None


def _reason(error: Exception, url: URL) -> str:
    """The last cause's first line, without the password."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0]}"
    for secret in _secrets(url):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(url: URL) -> Iterator[str]:
    if url.password:
        yield str(url.password)
    for key, value in url.query.items():
        if key.endswith("password"):
            yield from [value] if isinstance(value, str) else value
