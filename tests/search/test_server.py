"""Studies kept by a real PostgreSQL: restarts, second drivers, and passwords that stay secret."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.search.server import ServerStudy, masked
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


def joint(folder: Path, url: str, seed: int = 0) -> JointStudy:
    space = Space(remedies=REMEDIES)
    dimensions, _ = space.applicable(Facts())
    return JointStudy(
        folder / "journal.log", dimensions=dimensions, remedies=REMEDIES, max_changes=3, seed=seed,
        storage=url,
    )  # fmt: skip


@needs_server
def test_a_study_goes_on_from_what_the_server_keeps(running: Server, tmp_path: Path) -> None:
    study = joint(tmp_path, running.url)
    for _ in range(6):
        fix = study.ask()
        assert fix is not None
        study.tell(trial(fix.changes, skill_of(fix.changes)))
    study.close()
    again = joint(tmp_path, running.url)
    assert [t.fix for t in again.told] == [t.fix for t in study.told]
    assert not list(tmp_path.iterdir()), "nothing is kept twice"
    again.close()


@needs_server
def test_a_second_driver_is_refused_by_name(running: Server, tmp_path: Path) -> None:
    study = joint(tmp_path, running.url)
    with pytest.raises(UsageError, match=r"one driver per study, .* held by process \d+ on ") as it:
        joint(tmp_path, running.url)
    assert PASSWORD not in str(it.value)
    other = joint(tmp_path / "other", running.url)  # another study of the same server
    study.close()
    other.close()


@needs_server
def test_a_restart_in_the_middle_loses_and_doubles_nothing(running: Server, tmp_path: Path) -> None:
    study = joint(tmp_path, running.url)
    for round_ in range(3):
        fix = study.ask()
        assert fix is not None
        running.stop()
        back = threading.Timer(1.0, running.start)
        back.start()
        time.sleep(0.2 * round_)
        study.tell(trial(fix.changes, skill_of(fix.changes)))
        back.join()
    kept = [t.user_attrs["hash"] for t in study._journal.get_trials()]
    assert kept == [t.fix.hash for t in study.told]
    assert len(set(kept)) == 3
    study.close()


@needs_server
@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_study_with_a_message(
    running: Server, tmp_path: Path
) -> None:
    study = joint(tmp_path, running.url)
    fix = study.ask()
    assert fix is not None
    waits: list[float] = []
    assert isinstance(study._journal, ServerStudy)
    study._journal._sleep = waits.append
    running.stop()
    try:
        with pytest.raises(SweeperError, match="the same command continues") as it:
            study.tell(trial(fix.changes, skill_of(fix.changes)))
    finally:
        running.start()
    assert PASSWORD not in str(it.value)
    assert len(waits) == 7
    study.close()


@needs_server
def test_a_wrong_password_is_refused_and_never_shown(running: Server, tmp_path: Path) -> None:
    url = running.url.replace(PASSWORD, "wrong-" + PASSWORD)
    with pytest.raises(UsageError, match="can be reached, got postgresql") as it:
        joint(tmp_path, url)
    assert PASSWORD not in str(it.value)
    assert "password authentication failed" in str(it.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://me:pw-1@127.0.0.1:1/none", r"me:\*\*\*@127.0.0.1:1/none: .*refused"),
        ("no database at all pw-1", "got a text that is no database URL"),
        ("nosuchthing://me:pw-1@h/d", "nosuchthing"),
    ],
)
def test_what_cannot_be_reached_is_refused(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as it:
        joint(tmp_path, url)
    assert "pw-1" not in str(it.value)


def test_masked() -> None:
    assert masked("postgresql+psycopg://a:b@h:5/d") == "postgresql+psycopg://a:***@h:5/d"
