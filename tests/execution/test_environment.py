"""What a child inherits from where the user stands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeper.execution.child import run_environment
from tests.conftest import PROGRAMS, Runner


def test_a_relative_pythonpath_holds_in_the_child(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "helper.py").write_text("WORD = 'found'\n")
    (tmp_path / "tools").mkdir()
    program = tmp_path / "tools" / "train.py"
    program.write_text("import helper\nprint(helper.WORD)\n")
    monkeypatch.chdir(tmp_path)
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, ["shared", before])))
    assert "found" in run(program, fresh=True).output


def test_an_empty_entry_is_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}/opt/code")
    assert run_environment(1)["PYTHONPATH"] == f"{tmp_path}{os.pathsep}/opt/code"
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in run_environment(1)


def test_no_allocator_starts_a_thread_of_its_own(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.delenv("JE_ARROW_MALLOC_CONF", raising=False)
    program = tmp_path / "train.py"
    program.write_text("import os, pyarrow\nprint('threads', len(os.listdir('/proc/self/task')))\n")
    fresh = run(program, fresh=True)
    assert "threads 1" in fresh.output


def test_a_program_may_end_with_os_exit(run: Runner, tmp_path: Path) -> None:
    """Some do at the end of their training, for threads that would keep them alive; a process that
    they fork leaves as it would."""
    program = tmp_path / "train.py"
    program.write_text(
        (PROGRAMS / "low_rate.py").read_text() + "import os\n"
        "if os.fork() == 0:\n    os._exit(5)\n"
        "print('child', os.waitstatus_to_exitcode(os.wait()[1]), flush=True)\n"
        "os._exit(3)\n"
    )
    for fresh in (False, True):
        left = run(program, fresh=fresh)
        assert (left.outcome.status, left.outcome.exit_code) == ("finished", 3)
        assert left.outcome.steps == len(left.record.series("loss")) > 10
        assert left.output.endswith("child 5\n")
