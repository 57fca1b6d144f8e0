"""`sweeper show` as a user types it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.cli import main
from sweeper.report.files import write_report
from sweeper.report.fix_file import fix_text, read_fix
from sweeper.types import Program
from tests.report.builders import FACTS, study_result, verified
from tests.report.code.sources import SCRIPT

CHANGES = {"learning_rate": 0.5, "standardise_inputs": True}


@pytest.fixture
def fix_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fix file beside the program that it was proven on, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "code" / "train.py"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    program = Program(kind="script", name="train", path=path, target=str(path), cwd=tmp_path)
    fix = tmp_path / "fix-1.toml"
    fix.write_text(fix_text(verified(tmp_path, CHANGES), program, FACTS, "0.1"))
    return fix


def show(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main(["show", *map(str, words)])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_what_is_printed_is_what_patch_applies(
    fix_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "code" / "train.py"
    before = (script.read_bytes(), script.stat().st_mtime_ns)
    code, out, _ = show(capsys, fix_file)
    assert code == 0
    assert (script.read_bytes(), script.stat().st_mtime_ns) == before
    assert "# learning_rate=0.5, standardise_inputs=True, in train.py" in out
    assert "a part of the fix only: standardise_inputs has to be placed by hand" in out
    assert "--- code/train.py" in out
    subprocess.run(["patch", "-p0"], input=out, text=True, check=True, cwd=tmp_path)
    assert script.read_text() == SCRIPT.replace("lr=0.1", "lr=0.5")
    code, out, _ = show(capsys, fix_file)
    assert "The program has changed since the fix was proven" in out
    assert "---" not in out


def test_text_is_advice_alone(fix_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = show(capsys, fix_file, "--as", "text")
    assert code == 0
    assert out.startswith("optimizer = torch.optim.SGD(..., lr=0.5)\n")
    assert "---" not in out


def test_another_program_may_be_named(
    fix_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.py"
    other.write_text(SCRIPT.replace("lr=0.1", "lr=0.2"))
    for words in ((fix_file, "other.py"), ("--as", "code", fix_file, "-m", "other")):
        code, out, _ = show(capsys, *words)
        assert code == 0
        assert "--- other.py" in out
        assert "changed since" in out


def test_from_elsewhere_the_folder_is_named(
    fix_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    away = tmp_path / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    _, out, _ = show(capsys, fix_file)
    assert "--- train.py" in out  # patch refuses absolute names
    assert f"Applied in {tmp_path / 'code'} by:" in out


def test_a_fix_typed_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fix = tmp_path / "mine.toml"
    fix.write_text("[fix]\nlearning_rate = 0.5\n")
    code, _, err = show(capsys, fix)
    assert code == 2
    assert "does not say which program" in err
    (tmp_path / "train.py").write_text(SCRIPT)
    code, out, _ = show(capsys, fix, tmp_path / "train.py")
    assert code == 0
    assert "# By hand: learning_rate (no certain place: nothing is known" in out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda fix: fix.unlink(), "fix-1.toml"),
        (lambda fix: (fix.parent / "code" / "train.py").unlink(), "is not there"),
        (lambda fix: fix.write_text("source = 3\n" + fix.read_text()), "TOML"),
        (lambda fix: fix.write_text(fix.read_text().replace("sha256 =", "sha1 =")), "sha256"),
        (lambda fix: fix.write_text(fix.read_text().replace("learning_rate =", "rate =")), "rate"),
    ],
)
def test_bad_input_is_one_message(
    fix_file: Path, capsys: pytest.CaptureFixture[str], change: object, says: str
) -> None:
    change(fix_file)  # type: ignore[operator]
    code, out, err = show(capsys, fix_file)
    assert (code, out) == (2, "")
    assert err.startswith("sweeper: ")
    assert err.count("\n") == 1
    assert says in err


def test_nothing_is_obeyed_that_a_script_holds(
    fix_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is ours in the output has no control characters; the diff keeps those of the script."""
    hostile = tmp_path / "a\x1b[31m.py"
    hostile.write_text(SCRIPT)
    _, out, _ = show(capsys, fix_file, hostile)
    assert "\x1b" not in "".join(line for line in out.splitlines() if line[:1] != "+")


def test_the_fix_file_holds_the_program_and_reads_back(fix_file: Path, tmp_path: Path) -> None:
    content = read_fix(fix_file)
    assert content.source == tmp_path / "code" / "train.py"
    assert len(content.sha256) == 64
    assert content.fix.changes == CHANGES


def test_report_shows_the_same_diff_and_keeps_to_what_was_tried(tmp_path: Path) -> None:
    fixes = (verified(tmp_path, {"learning_rate": 0.5}),)
    base = study_result(tmp_path, fixes=fixes)
    base.program.path.write_text(SCRIPT)
    result = replace(base, source=SCRIPT)
    line = "+optimizer = torch.optim.SGD(model.parameters(), lr=0.5)"
    folder = write_report(result, tmp_path)
    assert line in (folder / "ranking.md").read_text()
    assert line in (folder / "report.html").read_text()
    assert "gives the same numbers" in (folder / "report.html").read_text()
    assert "has changed since" not in (folder / "report.html").read_text()
    base.program.path.write_text(SCRIPT.replace("lr=0.1", "lr=0.5"))  # as the diff says
    os.utime(folder / "result.json", (4e9, 4e9))
    write_report(result, tmp_path)
    assert line in (folder / "report.html").read_text()
    assert "has changed since" in (folder / "report.html").read_text()
