"""A study on a disk that is full: a clear end, nothing finished lost, and it goes on afterwards."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.execution.jobs import read_outcome
from tests.conftest import PROGRAMS

FEW, MANY = "700k", "64m"


def mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for a few runs."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounts a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount(folder, f"size={FEW}"):
        pytest.skip("no file systems can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fix(study: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = ["--quiet", "--deterministic", "--trials", "8", "--seeds", "2", "--slots", "2"]
    program = str(PROGRAMS / "low_rate.py")
    return subprocess.run(
        [sys.executable, "-m", "sweeper.cli", "fix", *words, "--study", str(study), program],
        capture_output=True, text=True, cwd=cwd, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_a_full_disk_ends_the_study_and_space_continues_it(disk: Path, tmp_path: Path) -> None:
    study = disk / "study"
    done = fix(study, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "results need space to be written, got [Errno 28] No space left" in done.stderr
    assert "the same command continues the study" in done.stderr
    assert "Traceback" not in done.stderr
    before = {p: p.stat().st_mtime_ns for p in study.glob("runs/*/outcome.json")}
    assert len(before) > 2, "the disk was to hold some runs"
    for path in before:
        outcome = read_outcome(path.parent)
        assert outcome is not None and outcome.status != "infrastructure"
        assert not outcome.watch_errors, "a record with holes is no finished run"
    again = fix(study, tmp_path)
    assert again.returncode == 2, "still full"
    subprocess.run(["mount", "-o", f"remount,size={MANY}", str(disk)], check=True)
    done = fix(study, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in before} == before
    with (study / "report" / "trials.csv").open() as file:
        folders = [trial["folder"] for trial in csv.DictReader(file)]
    assert len(folders) == len(set(folders)) > len(before)
    undisturbed = tmp_path / "undisturbed"
    assert fix(undisturbed, tmp_path).returncode == 0
    for name in ("ranking.csv", "remedies.csv"):
        found, wanted = (place / "report" / name for place in (study, undisturbed))
        assert found.read_text().splitlines() == wanted.read_text().splitlines()
