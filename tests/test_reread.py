"""`sweeper report STUDY`: the page once more, also of a study that never came to its end."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.cli import main
from sweeper.execution.jobs import run_folder
from sweeper.report.files import write_report
from sweeper.reread import reread
from sweeper.study import open_folder
from sweeper.types import Fix, FixValue, Program, UsageError
from tests.report.builders import program, study_result, with_runs, write_run


def make_run(
    study: Path, target: Program, changes: dict[str, FixValue], seed: int = 0, final: float = 2.3
) -> Path:
    """A run where a study keeps it."""
    folder = run_folder(study, Fix(changes=changes), seed, None)
    write_run(folder, seed=seed, changes=changes, final=final, program=target)
    return folder


def a_study(folder: Path, *, fix: bool = True) -> Program:
    target = program(folder)
    open_folder(folder, target, {"space": None, "steps": None, "seed": 0} if fix else {})
    return target


def test_a_finished_study_gives_the_same_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_study(tmp_path)
    folder = write_report(with_runs(study_result(tmp_path)), tmp_path)
    os.utime(folder / "result.json", (4e9, 4e9))  # no run is later
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    shutil.rmtree(folder / "code", ignore_errors=True)
    (folder / "report.html").unlink()
    assert main(["report", str(tmp_path)]) == 0
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    out = capsys.readouterr().out
    assert "# train: fixed" in out
    assert f"Page: {folder / 'report.html'}" in out


def test_runs_after_the_result_are_said(tmp_path: Path) -> None:
    a_study(tmp_path)
    folder = write_report(with_runs(study_result(tmp_path)), tmp_path)
    os.utime(folder / "result.json", (1, 1))
    assert "runs were made after this result" in reread(tmp_path).notes[-1]


def test_a_half_finished_study_says_so_and_calls_nothing_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = a_study(tmp_path)
    make_run(tmp_path, target, {})
    for seed in (1001, 1002, 1003, 1004, 1005):
        make_run(tmp_path, target, {"learning_rate": 0.5}, seed, final=0.1)
        make_run(tmp_path, target, {}, seed)
    (make_run(tmp_path, target, {"learning_rate": 0.1}) / "outcome.json").unlink()
    result = reread(tmp_path)
    assert result.verdict == "inconclusive"
    assert "11 runs have ended, 1 are under way or were cut off" in result.unfinished
    (fix,) = result.fixes
    assert fix.fix.changes == {"learning_rate": 0.5}
    assert fix.seeds == 5
    assert not fix.verified
    assert {t.phase for t in result.trials} == {"baseline", "verification"}
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "# train: not finished" in out
    page = (tmp_path / "report" / "report.html").read_text()
    assert "This study is not finished" in page
    assert not list((tmp_path / "report").glob("fix-*.toml"))


def test_an_unfinished_report_never_stands_for_the_result(tmp_path: Path) -> None:
    """The page of a half-finished study must not be taken for its result the next time."""
    target = a_study(tmp_path)
    make_run(tmp_path, target, {})
    write_report(reread(tmp_path), tmp_path)
    make_run(tmp_path, target, {"learning_rate": 0.5})
    assert "2 runs have ended" in reread(tmp_path).unfinished


def test_a_study_without_runs(tmp_path: Path) -> None:
    a_study(tmp_path)
    result = reread(tmp_path)
    assert "no run of the unchanged program has ended" in result.unfinished
    folder = write_report(result, tmp_path)
    assert "Nothing has been run yet" in (folder / "report.html").read_text()


def test_only_checked(tmp_path: Path) -> None:
    target = a_study(tmp_path, fix=False)
    make_run(tmp_path, target, {})
    result = reread(tmp_path)
    assert (result.verdict, result.unfinished) == ("failing", "")


def test_a_program_that_crashes_by_itself(tmp_path: Path) -> None:
    target = a_study(tmp_path)
    folder = make_run(tmp_path, target, {})
    data = json.loads((folder / "outcome.json").read_text())
    data |= {"status": "program_error", "steps": 3, "error": "KeyError: 'label'",
             "traceback": "Traceback ...\nKeyError: 'label'"}  # fmt: skip
    (folder / "outcome.json").write_text(json.dumps(data))
    result = reread(tmp_path)
    assert result.verdict == "crashed"
    assert "KeyError: 'label'" in result.verdict_reason


def test_a_moved_study_is_read_where_it_lies(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    target = a_study(old)
    name = make_run(old, target, {}).name
    new = old.rename(tmp_path / "new")
    result = reread(new)
    assert result.trials[0].folder == new / "runs" / name
    assert replace(result, program=target).facts.steps == 360


@pytest.mark.parametrize("text", ["", "[]", '{"program": "x"}'])
def test_a_damaged_study_is_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UsageError, match=r"study\.json"):
        reread(tmp_path)


def test_not_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
