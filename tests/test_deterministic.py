"""`--deterministic`: one seed, one table, for any number of slots and after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import PROGRAMS
from tests.tables import tables

WORDS = ("fix", "--quiet", "--deterministic", "--trials", "8", "--seeds", "3")


def command(study: Path, slots: int) -> Sequence[str]:
    program = str(PROGRAMS / "low_rate.py")
    options = ["--slots", str(slots), "--study", str(study), program]
    return [sys.executable, "-m", "sweeper.cli", *WORDS, *options]


def run(study: Path, slots: int) -> None:
    done = subprocess.run(command(study, slots), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def one_slot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("one") / "study"
    run(study, 1)
    return study


def test_two_slots_give_the_table_of_one(one_slot: Path, tmp_path: Path) -> None:
    run(tmp_path / "study", 2)
    assert tables(tmp_path / "study") == tables(one_slot)
    assert len(tables(one_slot)["trials"]) > 15


def test_killed_driver_continues_to_the_same_table(one_slot: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    driver = subprocess.Popen(command(study, 2), stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while len(list(study.glob("runs/*/outcome.json"))) < 6:
        assert driver.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {p: p.stat().st_mtime_ns for p in study.glob("runs/*/outcome.json")}
    run(study, 3)
    assert tables(study) == tables(one_slot)
    assert all(p.stat().st_mtime_ns == moment for p, moment in before.items())


def test_a_clock_is_refused(tmp_path: Path) -> None:
    words = ["--deterministic", "--budget", "5m", str(PROGRAMS / "low_rate.py")]
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.cli", "fix", *words],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "limited by --trials and --steps, not by the clock, got --budget 300" in done.stderr
