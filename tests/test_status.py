"""`sweeper status` and Ctrl-C, with a real driver at work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.execution.pulse import Pulse, read_pulse
from sweeper.status import status_lines
from sweeper.types import UsageError
from tests.conftest import PROGRAMS

Driver = subprocess.Popen[str]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    words = ["fix", "--study", str(tmp_path / "study"), "--slots", "1", "--trials", "200"]
    program = str(PROGRAMS / "low_rate.py")
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeper.cli", *words, program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def wait_for_runs(driver: Driver, study: Path, count: int) -> None:
    limit = time.monotonic() + 120
    while len(list(study.glob("runs/*/outcome.json"))) < count:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_status_then_one_interrupt_reports_what_is_there(driver: Driver, tmp_path: Path) -> None:
    study = tmp_path / "study"
    wait_for_runs(driver, study, 4)
    shown = "\n".join(status_lines(study, tail=True))
    assert f"low_rate: driven by process {driver.pid} on " in shown
    assert "runs: " in shown and "training steps" in shown
    driver.send_signal(signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode in (0, 5), err
    assert "interrupted by SIGINT" in out
    assert "Traceback" not in err
    verdict = json.loads((study / "report" / "verdict.json").read_text())
    assert verdict["cost"]["runs"] >= 3
    left = [p for p in study.glob("runs/*") if not (p / "outcome.json").exists()]
    shown = "\n".join(status_lines(study))
    assert "no driver is at work" in shown
    assert f"report: {study / 'report'}" in shown
    assert len(left) <= 1, "one slot has at most one run under way"


def test_two_interrupts_end_now(driver: Driver, tmp_path: Path) -> None:
    wait_for_runs(driver, tmp_path / "study", 2)
    driver.send_signal(signal.SIGTERM)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode in (130, 0, 5)
    assert "Traceback" not in err


def test_status_of_what_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a folder that sweeper made"):
        list(status_lines(tmp_path))
    (tmp_path / "study.json").write_text('{"program": "train"}')
    (tmp_path / "status.json").write_text('{"schema": 9}')
    with pytest.raises(UsageError, match="schema <= 1, got 9"):
        list(status_lines(tmp_path))


def test_pulse_counts_and_keeps_the_longest_gap(tmp_path: Path) -> None:
    assert read_pulse(tmp_path) is None
    pulse = Pulse(tmp_path)
    first = read_pulse(tmp_path)
    assert first is not None and first.steps == 0 and first.longest_gap == 0.0
    for pause in (0.0, 0.05, 0.0):
        time.sleep(pause)
        pulse.beat()
    beat = read_pulse(tmp_path)
    assert beat is not None and beat.steps == 3
    assert 0.05 <= beat.longest_gap <= beat.last - beat.started
    (tmp_path / "pulse").write_bytes(b"short")
    assert read_pulse(tmp_path) is None
