"""Studies kept by a real PostgreSQL: restarts, second drivers, and passwords that stay secret."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.search.server import ServerStudy, masked, opened
from sweeper.search.space import Space
from sweeper.search.study import JointStudy
from sweeper.types import Facts, SweeperError, UsageError

from .fakes import REMEDIES, skill_of, trial
from .postgresql import PASSWORD, Server, binaries, server

TOOLS = binaries()
needs_server = pytest.mark.skipif(
    TOOLS is None, reason="no PostgreSQL server here: apt-get install postgresql"
)


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    assert TOOLS is not None
    # Not pytest's folder: only its owner may enter that, and PostgreSQL does not run as root.
    folder = Path(tempfile.mkdtemp(prefix="sweeper-postgresql-"))
    folder.chmod(0o755)
    with server(folder, TOOLS) as made:
        yield made
    shutil.rmtree(folder)


@contextlib.contextmanager
def joint(folder: Path, url: str) -> Iterator[tuple[JointStudy, ServerStudy]]:
    """A study and the place on the server that it is kept in."""
    space = Space(remedies=REMEDIES)
    dimensions, _ = space.applicable(Facts())
    with opened(url, folder) as storage:
        assert storage is not None
        study = JointStudy(
            folder / "journal.log", dimensions=dimensions, remedies=REMEDIES, max_changes=3,
            seed=0, storage=storage,
        )  # fmt: skip
        yield study, storage


@needs_server
def test_a_study_goes_on_from_what_the_server_keeps(running: Server, tmp_path: Path) -> None:
    with joint(tmp_path, running.url) as (study, _):
        for _ in range(6):
            fix = study.ask()
            assert fix is not None
            study.tell(trial(fix.changes, skill_of(fix.changes)))
    with joint(tmp_path, running.url) as (again, _):
        assert [t.fix for t in again.told] == [t.fix for t in study.told]
    assert len(study.told) == 6
    assert not list(tmp_path.iterdir()), "nothing is kept twice"


@needs_server
def test_a_second_driver_is_refused_by_name(running: Server, tmp_path: Path) -> None:
    words = r"one driver per study, .* held by process \d+ on "
    with (
        joint(tmp_path, running.url),
        joint(tmp_path / "other", running.url),  # another study of the same server
        pytest.raises(UsageError, match=words) as it,
        joint(tmp_path, running.url),
    ):
        pass
    assert PASSWORD not in str(it.value)


@needs_server
def test_a_restart_in_the_middle_loses_and_doubles_nothing(running: Server, tmp_path: Path) -> None:
    with joint(tmp_path, running.url) as (study, storage):
        for round_ in range(3):
            fix = study.ask()
            assert fix is not None
            running.stop()
            back = threading.Timer(1.0, running.start)
            back.start()
            time.sleep(0.2 * round_)
            study.tell(trial(fix.changes, skill_of(fix.changes)))
            back.join()
        kept = [t.user_attrs["hash"] for t in storage.get_trials()]
    assert kept == [t.fix.hash for t in study.told]
    assert len(set(kept)) == 3


@needs_server
@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_study_with_a_message(
    running: Server, tmp_path: Path
) -> None:
    with joint(tmp_path, running.url) as (study, storage):
        fix = study.ask()
        assert fix is not None
        waits: list[float] = []
        storage._sleep = waits.append
        running.stop()
        try:
            with pytest.raises(SweeperError, match="the same command continues") as it:
                study.tell(trial(fix.changes, skill_of(fix.changes)))
        finally:
            running.start()
    assert PASSWORD not in str(it.value)
    assert len(waits) == 7


@needs_server
def test_a_wrong_password_is_refused_and_never_shown(running: Server, tmp_path: Path) -> None:
    url = running.url.replace(PASSWORD, "wrong-" + PASSWORD)
    with pytest.raises(UsageError, match="can be reached, got postgresql") as it:
        ServerStudy(url, tmp_path)
    assert PASSWORD not in str(it.value)
    assert "password authentication failed" in str(it.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "postgresql+psycopg://me:pw-1@127.0.0.1:1/none",
            "me:PASSWORD@127.0.0.1:1/none: .*refused",
        ),
        (
            "postgresql+psycopg://127.0.0.1:1/none?user=me&password=pw-1",
            "password=PASSWORD&user=me: ",
        ),
        ("no database at all pw-1", "got a text that is no database URL"),
        ("nosuchthing://me:pw-1@h/d", "nosuchthing"),
    ],
)
def test_what_cannot_be_reached_is_refused(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as it:
        ServerStudy(url, tmp_path)
    assert "pw-1" not in str(it.value)


def test_masked() -> None:
    assert masked("postgresql+psycopg://a:b@h:5/d") == "postgresql+psycopg://a:PASSWORD@h:5/d"
    assert masked("postgresql://h/d?sslpassword=x") == "postgresql://h/d?sslpassword=PASSWORD"
