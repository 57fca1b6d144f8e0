"""`sweeper status` and Ctrl-C, with a real driver at work."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.execution.jobs import prepare_folder, run_folder, write_outcome
from sweeper.execution.pulse import Pulse, read_pulse
from sweeper.options import Options
from sweeper.program.target import parse_program
from sweeper.report.terminal import make_progress
from sweeper.status import LiveView, StatusFile, status_lines
from sweeper.types import Fix, Job, Judgement, Outcome, Trial, UsageError
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


def _read_all(terminal: int, pieces: list[bytes]) -> None:
    """A terminal hands out a few kilobytes at a time, until nobody writes to it any more."""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 2**16):
            pieces.append(piece)


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of its own")
def test_a_terminal_shows_what_runs_what_is_best_and_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pty

    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    target = parse_program([str(PROGRAMS / "low_rate.py")])
    options = Options(program=target, study=tmp_path, budget=600.0, trials=40)
    fix = Fix(changes={"learning_rate": 0.1})
    jobs = [
        Job(
            program=target, fix=fix, seed=seed, max_steps=400,
            folder=run_folder(tmp_path, fix, seed, 400),
        )
        for seed in (0, 1)
    ]  # fmt: skip
    ours, theirs = pty.openpty()
    pieces: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(ours, pieces))
    reader.start()
    with os.fdopen(theirs, "w") as stream:
        view = LiveView(options)
        with make_progress(quiet=False, stream=stream, below=view.lines) as progress:
            told = view.of(StatusFile(progress, tmp_path))
            told.phase("screening")
            for job in jobs:
                prepare_folder(job)
                pulse = Pulse(job.folder)
                for _ in range(100):
                    pulse.beat()
            write_outcome(jobs[1].folder, Outcome(status="finished", steps=400))
            told.trial_done(
                Trial(
                    number=1, phase="screening", fix=fix, seed=0, folder=jobs[1].folder,
                    outcome=Outcome(status="finished", steps=400),
                    judgement=Judgement(
                        restored=True, score=0.9, skill=0.9, metric_name="accuracy", metric=0.95,
                        reasons=(), violations={},
                    ),
                )
            )  # fmt: skip
            time.sleep(0.6)
    reader.join(20)
    shown = b"".join(pieces).decode()
    os.close(ours)
    assert "screening learning_rate=0.1: restored, accuracy 0.95" in shown
    assert "best so far: learning_rate=0.1, accuracy 0.95, restored" in shown
    assert "of the budget left, 39 trials to go, about " in shown
    assert "running learning_rate=0.1, seed 0: step 100 of 400, " in shown
    assert " steps/s, about " in shown
    assert "seed 1" not in shown, "it has ended"
    assert shown.rstrip().endswith("\x1b[?25h") or shown.endswith("\x1b[2K"), "the lines are gone"


def test_without_a_terminal_there_are_plain_lines_only(tmp_path: Path) -> None:
    stream = io.StringIO()
    target = parse_program([str(PROGRAMS / "low_rate.py")])
    view = LiveView(Options(program=target, study=tmp_path))
    with make_progress(quiet=False, stream=stream, below=view.lines) as progress:
        view.of(StatusFile(progress, tmp_path)).phase("screening")
    assert stream.getvalue().endswith("s] screening ...\n")
    assert "\x1b" not in stream.getvalue()
