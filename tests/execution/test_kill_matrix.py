"""Whatever is killed while a study is under way, by a real signal: no finished run is lost, none is
counted twice, no trial is left running, no process is left over, and the tables are those of the
undisturbed study, whose every run was a fresh process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeper.search.journal import open_journal
from tests.conftest import PROGRAMS
from tests.search.postgresql import binaries, server
from tests.tables import tables

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]
WORDS = ("fix", "--quiet", "--deterministic", "--trials", "6", "--seeds", "2")
PREPARATION = 1.2
"""Seconds: worth a template."""
LIMIT = 400.0
Kill = Callable[[Path], None]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of the test's own: its path tells whose a process is."""
    path = tmp_path_factory.mktemp("matrix") / "prepared_low_rate.py"
    text = (PROGRAMS / "low_rate.py").read_text()
    text = text.replace("torch.manual_seed(3)\n", f"torch.manual_seed(3)\nsleep({PREPARATION})\n")
    path.write_text("from time import sleep\n" + text)
    return path


def command(program: Path, study: Path, *words: str) -> Sequence[str]:
    options = ["--study", str(study), *words, str(program)]
    return [sys.executable, "-m", "sweeper.cli", *WORDS, *options]


@pytest.fixture(scope="module")
def undisturbed(program: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    study = tmp_path_factory.mktemp("undisturbed") / "study"
    done = subprocess.run(
        command(program, study, "--slots", "2", "--no-warm-start"),
        capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tables(study)


def family(program: Path) -> dict[int, int]:
    """Pid -> parent's of every process that names the program, without zombies and the test."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(program).encode() in (entry / "cmdline").read_bytes():
                    state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                    if state != "Z":
                        found[int(entry.name)] = int(parent)
            except OSError:
                continue
    return found


def finished(study: Path) -> dict[Path, int]:
    """Outcome -> when it was written."""
    return {p: p.stat().st_mtime_ns for p in study.glob("runs/*/outcome.json")}


def wait(condition: Callable[[], object], driver: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + LIMIT
    while not condition():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < limit
        time.sleep(0.01)


def zygotes(program: Path, driver: int) -> list[int]:
    return [pid for pid, parent in family(program).items() if parent == driver]


def forked(program: Path, driver: int, study: Path, *, template: bool) -> list[int]:
    """Templates, or runs under way: what their standard output is tells them apart."""
    found = []
    for pid, parent in family(program).items():
        if pid == driver or parent == driver:
            continue
        try:
            output = Path(os.readlink(f"/proc/{pid}/fd/1"))
        except OSError:
            continue
        if output.parent.name.startswith("template") == template:
            found.append(pid)
    return found


def disturbed(
    program: Path, study: Path, words: Sequence[str], kill: Callable[[int], None], after: int = 4
) -> None:
    """A study in which ``kill(pid of the driver)`` is called twice; it is started again when it was
    the driver that died."""
    start = command(program, study, *words)
    kept: dict[Path, int] = {}
    driver = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for count in (after, after + 4):
            wait(lambda count=count: len(finished(study)) >= count, driver)  # type: ignore[misc]
            kept |= finished(study)
            kill(driver.pid)
            if driver.poll() is not None:
                driver.communicate()
                driver = subprocess.Popen(
                    start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
        _, err = driver.communicate(timeout=LIMIT)
        assert driver.returncode == 0, err
    finally:
        driver.kill()
        driver.wait()
    after_all = finished(study)
    assert {p: after_all.get(p) for p in kept} == kept, "a finished run was lost or made again"


def check(study: Path, undisturbed: dict[str, Any], program: Path) -> None:
    found = tables(study)
    assert found["ranking"] == undisturbed["ranking"]
    assert found["remedies"] == undisturbed["remedies"]
    assert found["trials"] == undisturbed["trials"]
    folders = [trial["folder"] for trial in found["trials"]]
    assert len(folders) == len(set(folders)), "counted twice"
    for folder in folders:
        assert (study / folder / "outcome.json").is_file(), "lost"
        assert (study / folder / "output.log").stat().st_size > 0, "what it printed is here too"
    limit = time.monotonic() + 10.0
    while family(program) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not family(program), "left over"


def check_journal(study: Path) -> None:
    check_trials(open_journal(study / "journal.log", "joint"))


def check_trials(kept: optuna.Study) -> None:
    trials = kept.get_trials()
    assert trials and all(trial.state.is_finished() for trial in trials), "left running"
    folders = [trial.user_attrs["folder"] for trial in trials]
    assert len(folders) == len(set(folders)), "told twice"


def end(pids: Sequence[int]) -> None:
    """SIGKILL to the first that still lives."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            return
        except ProcessLookupError:
            continue


@pytest.mark.parametrize("victim", ["worker", "zygote", "template", "driver"])
def test_a_killed_process_changes_nothing(
    program: Path, undisturbed: dict[str, Any], tmp_path: Path, victim: str
) -> None:
    study = tmp_path / "study"
    killed: list[Any] = []

    def targets(driver: int) -> list[int]:
        if victim == "driver":
            return [driver]
        if victim == "zygote":
            return zygotes(program, driver)
        return forked(program, driver, study, template=victim == "template")

    def kill(driver: int) -> None:
        limit = time.monotonic() + 5.0
        while not (found := targets(driver)) and time.monotonic() < limit:
            time.sleep(0.002)
        killed.extend(found[:1])
        end(found)
        if victim == "driver":
            time.sleep(1.0)
            assert not family(program), "the driver's children outlive it"

    disturbed(program, study, ["--slots", "2"], kill)
    assert killed
    check(study, undisturbed, program)
    check_journal(study)
    if victim == "worker":
        starts = {json.loads(p.read_text())["start"] for p in finished(study)}
        assert "prepared" in starts, "the runs came from a template, the reference did not"


TOOLS = binaries()


@pytest.mark.skipif(TOOLS is None, reason="no PostgreSQL server here")
def test_a_restarted_database_changes_nothing(
    program: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    assert TOOLS is not None
    folder = Path(tempfile.mkdtemp(prefix="sweeper-postgresql-"))
    folder.chmod(0o755)
    try:
        with server(folder, TOOLS) as running:

            def kill(driver: int) -> None:
                running.stop()  # without a checkpoint, as a crash
                time.sleep(1.0)
                running.start()

            study = tmp_path / "study"
            disturbed(program, study, ["--slots", "2", "--storage", running.url], kill)
            check(study, undisturbed, program)
            storage = optuna.storages.RDBStorage(running.url)
            (name,) = optuna.get_all_study_names(storage)
            check_trials(optuna.load_study(study_name=name, storage=storage))
            storage.remove_session()
            storage.engine.dispose()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without CPUs, so that every run is on a node that can be lost, and three nodes."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 100 * 2**20},
    )
    for _ in range(3):
        made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def ray_workers() -> list[int]:
    """Processes of Ray in which one of our tasks is at work: their titles are the tasks' names."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            title = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if title.startswith(b"ray::") and b" seed " in title:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("victim", ["worker", "node"])
def test_a_part_of_a_ray_cluster_changes_nothing(
    cluster: Any, program: Path, undisturbed: dict[str, Any], tmp_path: Path, victim: str
) -> None:
    study = tmp_path / "study"
    killed: list[Any] = []

    def kill(driver: int) -> None:
        if victim == "node":
            if not killed:
                killed.append(cluster.remove_node(next(iter(cluster.worker_nodes)), False))
            return
        limit = time.monotonic() + 10.0
        while not (found := ray_workers()) and time.monotonic() < limit:
            time.sleep(0.002)
        killed.extend(found[:1])
        end(found)

    disturbed(program, study, [f"--ray={cluster.address}"], kill)
    assert killed
    cluster.shutdown()
    check(study, undisturbed, program)
    check_journal(study)
