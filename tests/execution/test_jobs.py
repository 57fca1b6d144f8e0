"""Jobs and outcomes survive their files; a torn file is no file. The study lock."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.execution.imports import imported_names, is_installed
from sweeper.execution.jobs import (
    finished,
    prepare_folder,
    read_job,
    read_outcome,
    run_folder,
    unfinished,
    write_job,
    write_outcome,
)
from sweeper.execution.lock import StudyLock
from sweeper.types import Facts, Fix, LoaderFact, Outcome, UsageError

from .conftest import MakeJob


def test_a_job_survives_its_file(make_job: MakeJob) -> None:
    facts = Facts(
        loaders=(LoaderFact(index=0, batch_size=8, n_samples=9, n_batches=2, trained=True),)
    )
    fix = Fix(changes={"clip_norm": {"max_norm": 1.0, "norm_type": math.inf}, "activation": "relu"})
    job = make_job(3, fix=fix, facts=facts, max_steps=None, planned_steps=40)
    again = read_job(write_job(job))
    # NaN is unequal to itself, so the facts are held side by side as text.
    assert replace(again, facts=None) == replace(job, facts=None)
    assert again.facts is not None and again.facts.to_dict() == facts.to_dict()
    assert again.fix.hash == fix.hash
    assert json.loads((job.folder / "job.json").read_text())["schema"] == 1


def test_an_outcome_survives_its_file(tmp_path: Path) -> None:
    outcome = Outcome(status="budget", seconds=1.5, applied={"clip_norm": {"largest": math.inf}})
    write_outcome(tmp_path, outcome)
    assert read_outcome(tmp_path) == outcome == finished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["outcome.json"]


def test_a_torn_outcome_is_none(tmp_path: Path) -> None:
    write_outcome(tmp_path, Outcome(status="finished"))
    path = tmp_path / "outcome.json"
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:cut])
        assert finished(tmp_path) is None
    path.write_text("[]")
    assert finished(tmp_path) is None


@pytest.mark.parametrize("status", ["infrastructure", "killed"])
def test_what_says_nothing_about_the_fix_is_made_again(tmp_path: Path, status: str) -> None:
    write_outcome(tmp_path, Outcome(status=status))  # type: ignore[arg-type]
    assert read_outcome(tmp_path) is not None
    assert finished(tmp_path) is None


def test_a_second_attempt_starts_from_an_empty_folder(make_job: MakeJob) -> None:
    job = make_job()
    prepare_folder(job)
    (job.folder / "signals.jsonl").write_text("half a run")
    prepare_folder(job)
    assert [p.name for p in job.folder.iterdir()] == ["job.json"]


def test_unfinished_runs_are_found_again(make_job: MakeJob, tmp_path: Path) -> None:
    jobs = [make_job(seed) for seed in (1, 2, 3)]
    for job in jobs:
        prepare_folder(job)
    write_outcome(jobs[0].folder, Outcome(status="finished"))
    write_outcome(jobs[1].folder, Outcome(status="killed"))
    assert unfinished(tmp_path) == jobs[1:]


def test_a_folder_of_someone_else_is_left_alone(make_job: MakeJob) -> None:
    job = make_job()
    job.folder.mkdir(parents=True)
    (job.folder / "notes.txt").write_text("mine")
    prepare_folder(job)
    assert (job.folder / "notes.txt").exists()


def test_folders_tell_budgets_and_seeds_apart(tmp_path: Path) -> None:
    fix = Fix(changes={"activation": "relu"})
    names = {run_folder(tmp_path, fix, s, n).name for s in (0, 1) for n in (None, 10)}
    assert names == {f"{fix.hash}-s{s}-n{n}" for s in (0, 1) for n in ("full", "10")}


HOLDER = """
import sys, time
from pathlib import Path
from sweeper.execution.lock import StudyLock
with StudyLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {first.pid} on "):
            StudyLock(tmp_path).acquire()
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    with StudyLock(tmp_path):
        assert json.loads((tmp_path / "driver.lock").read_text())["pid"] == os.getpid()
    with StudyLock(tmp_path):
        pass


def test_imports_are_read_without_running_anything() -> None:
    source = """
import os, numpy.linalg as la
from . import sibling
from collections import OrderedDict, abc
def f():
    import json
try:
    from missing import x
except ImportError:
    pass
"""
    assert imported_names(source) == [
        ("os", ""), ("numpy.linalg", ""), ("collections", "OrderedDict"), ("collections", "abc"),
        ("json", ""), ("missing", "x"),
    ]  # fmt: skip
    assert imported_names("def broken(") == []


def test_only_installed_modules_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "namespace").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert is_installed("json") and is_installed("numpy.linalg")
    for name in ("mine", "namespace", "missing", "antigravity", "sweeper.types"):
        assert not is_installed(name)
