"""The command line as a user types it: exit codes, messages, and what is left behind."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PROGRAMS

Done = subprocess.CompletedProcess[str]


def sweeper(*words: str | Path, cwd: Path, check: bool = False) -> Done:
    command = [sys.executable, "-m", "sweeper.cli", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=check
    )


def no_traceback(done: Done) -> None:
    assert "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("sweeper: ") or "usage:" in done.stderr, done.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """One finished `sweeper fix` of a failing program."""
    folder = tmp_path_factory.mktemp("fix")
    words = ("fix", "--json", "--trials", "10", "--study", "study", PROGRAMS / "low_rate.py")
    return folder, sweeper(*words, cwd=folder)


def test_fix_finds_and_proves_a_fix(study: tuple[Path, Done]) -> None:
    folder, done = study
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] == "fixed"
    assert verdict["causes"][0]["cause"] == "learning_rate_too_low"
    assert {"flat_loss", "starved_updates"} <= {f["symptom"] for f in verdict["findings"]}
    best = verdict["fixes"][0]
    assert best["verified"]
    assert best["restored"] >= 4
    assert best["seeds"] == 5
    assert best["metric"]["median"] > 0.9 > best["metric"]["baseline"] + 0.2
    for run in best["runs"]:
        assert (folder / "study" / run / "signals.jsonl").stat().st_size > 0


def test_report_files_agree_with_the_verdict(study: tuple[Path, Done]) -> None:
    report = study[0] / "study" / "report"
    verdict = json.loads((report / "verdict.json").read_text())
    with (report / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["rank"] for r in rows] == [str(f["rank"]) for f in verdict["fixes"]]
    with (report / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == verdict["cost"]["runs"]
    remedies = {r["remedy"]: r for r in verdict["remedies"]}
    assert remedies["learning_rate"]["alone"] == "restored"
    assert (report / "ranking.md").read_text().strip()


def test_fix_file_applies_to_the_program_in_full(study: tuple[Path, Done]) -> None:
    folder, done = study
    fix_file = folder / "study" / json.loads(done.stdout)["fixes"][0]["fix_file"]
    for seed in ("0", "7"):
        ran = sweeper(
            "run", "--fix", fix_file, "--seed", seed, PROGRAMS / "low_rate.py", cwd=folder
        )
        assert ran.returncode == 0, ran.stderr
        assert float(ran.stdout.split()[-1]) > 0.9
        assert "not applied" not in ran.stderr


def test_a_fix_file_says_when_it_is_given_another_program(
    study: tuple[Path, Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, done = study
    fix_file = folder / "study" / json.loads(done.stdout)["fixes"][0]["fix_file"]
    source = (PROGRAMS / "low_rate.py").read_text()
    (tmp_path / "low_rate.py").write_text(source + "# edited\n")
    (tmp_path / "other.py").write_text(source + "# edited\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "1,1")  # of nested teams: OpenMP takes it
    for name, says in (
        ("low_rate.py", "sweeper: the program has changed since the fix was proven\n"),
        ("other.py", f"sweeper: the fix was proven on {PROGRAMS / 'low_rate.py'}, and this is "),
    ):
        ran = sweeper("run", "--fix", fix_file, name, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert says in ran.stderr


def test_same_command_again_repeats_no_run(study: tuple[Path, Done]) -> None:
    folder, first = study
    before = {p: p.stat().st_mtime_ns for p in folder.glob("study/runs/*/outcome.json")}
    words = ("fix", "--json", "--trials", "10", "--study", "study", PROGRAMS / "low_rate.py")
    again = sweeper(*words, cwd=folder)
    assert json.loads(again.stdout)["fixes"] == json.loads(first.stdout)["fixes"]
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_program_that_is_edited_meanwhile_ends_its_study(tmp_path: Path) -> None:
    """Else a fix would be proven by an edit of the user's."""
    program, study = tmp_path / "edited.py", tmp_path / "s"
    waiting = "import time\ntime.sleep(4)\n"  # it cannot be told: it sees the files of its start
    source = (PROGRAMS / "low_rate.py").read_text()
    assert "lr=1e-6" in source
    program.write_text(waiting + source)
    words = [sys.executable, "-m", "sweeper.cli", "fix", "--study", "s", "edited.py"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as driver:
        while not list(study.glob("runs/*/pulse*")) and driver.poll() is None:
            time.sleep(0.05)
        program.write_text(waiting + source.replace("lr=1e-6", "lr=0.5"))
        _, told = driver.communicate(timeout=60)
    assert driver.returncode == 2
    assert "PROGRAM must stay as it is" in told and str(program) in told
    assert len(list(study.glob("runs/*/job.json"))) == 1
    assert not list(study.glob("runs/*/outcome.json")), "it is made again"


def test_study_of_another_program_is_refused(study: tuple[Path, Done]) -> None:
    done = sweeper("check", "--study", "study", PROGRAMS / "functional.py", cwd=study[0])
    assert done.returncode == 2
    no_traceback(done)
    assert "low_rate" in done.stderr


def test_other_space_in_the_same_study_is_refused_with_the_difference(
    study: tuple[Path, Done],
) -> None:
    words = ("fix", "--space", "documented", "--study", "study", PROGRAMS / "low_rate.py")
    done = sweeper(*words, cwd=study[0])
    assert done.returncode == 2
    no_traceback(done)
    assert "space: None then, 'documented' now" in done.stderr


def test_killed_driver_continues_where_it_was(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sweeper.cli", "fix", "--json", "--trials", "8", "--study", "s"]
    command = [*words, str(PROGRAMS / "low_rate.py")]
    driver = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("s/runs/*/outcome.json"))) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(1.0)
    held = {p: p.stat().st_mtime_ns for p in tmp_path.glob("s/runs/*/outcome.json")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "fixed"
    assert {p: p.stat().st_mtime_ns for p in held} == held
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in listed.stdout


def test_healthy_program(tmp_path: Path) -> None:
    source = (PROGRAMS / "low_rate.py").read_text().replace("lr=1e-6", "lr=0.1")
    (tmp_path / "healthy.py").write_text(source)
    for words in (("check",), ("fix", "--space", "documented")):
        done = sweeper(*words, "--json", "healthy.py", cwd=tmp_path)
        assert done.returncode == 0, done.stderr + done.stdout
        assert json.loads(done.stdout)["verdict"] == "healthy"
    assert not list(tmp_path.glob(".sweeper/*/journal.log"))


def test_check_is_a_linter(tmp_path: Path) -> None:
    done = sweeper("check", PROGRAMS / "low_rate.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "flat_loss" in done.stdout
    assert "learning_rate_too_low" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("check", "missing.py"), "missing.py"),
        (("check",), "PROGRAM"),
        (("check", "broken.py"), "broken.py:2"),
        (("check", "-m", "no_such_module"), "no_such_module"),
        (("check", "fine.py:absent"), "absent"),
        (("check", "empty"), "folder"),
        (("check", "log.csv"), "log.csv"),
        (("fix", "--space", "defualt", "fine.py"), "default"),
        (("fix", "--space", "typo.toml", "fine.py"), "learning_rate"),
        (("fix", "--space", "range.toml", "fine.py"), "range.toml"),
        (("fix", "--budget", "soon", "fine.py"), "soon"),
        (("fix", "--trials", "0", "fine.py"), "'0'"),
        (("check", "--study", "/proc/nowhere/study", "fine.py"), "/proc/nowhere"),
        (("run", "--fix", "none.toml", "fine.py"), "none.toml"),
        (("run", "--fix", "unknown.toml", "fine.py"), "learning_rate"),
        (("copy", "no_such_thing", "dest"), "no_such_thing"),
        (("report", "nothing"), "nothing"),
    ],
    ids=lambda v: " ".join(map(str, v)) if isinstance(v, tuple) else None,
)
def test_bad_input_is_one_clear_message(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    (tmp_path / "broken.py").write_text("import torch\nfor x in\n")
    (tmp_path / "fine.py").write_text("import torch\ndef main():\n    pass\n")
    (tmp_path / "log.csv").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "typo.toml").write_text("[learning_rte]\nlow = 1e-5\n")
    (tmp_path / "range.toml").write_text("[learning_rate]\nlow = 1e-5\nhigh = 1e9\n")
    (tmp_path / "unknown.toml").write_text("schema = 1\n[fix]\nlearning_rte = 0.1\n")
    before = sorted(p.name for p in tmp_path.iterdir())
    done = sweeper(*words, cwd=tmp_path)
    assert done.returncode == 2, (done.returncode, done.stderr, done.stdout)
    no_traceback(done)
    assert says in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".sweeper") == before


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            "--storage=postgresql+psycopg://me:pw-1@127.0.0.1:1/none",
            "that can be reached, got postgresql+psycopg://me:PASSWORD@127.0.0.1:1/none: ",
        ),
        ("--ray=127.0.0.1:1", "--ray must name a cluster that answers, got 127.0.0.1:1: "),
    ],
    ids=["storage", "ray"],
)
def test_a_server_that_is_not_there_is_said_before_any_run(
    tmp_path: Path, option: str, says: str
) -> None:
    done = sweeper("fix", option, "--study", "s", PROGRAMS / "low_rate.py", cwd=tmp_path)
    assert done.returncode == 2, (done.returncode, done.stderr, done.stdout)
    no_traceback(done)
    assert says in done.stderr
    assert "pw-1" not in done.stderr
    assert not list((tmp_path / "s" / "runs").iterdir())


@pytest.mark.parametrize("words", [("list", "causes"), ("check", "log.csv")])
def test_a_reader_that_went_away_is_no_verdict(tmp_path: Path, words: tuple[str, ...]) -> None:
    """As of ``| head -1``: neither 0 (healthy) nor 1 (failing), and no traceback."""
    rows = "".join(f"{step},{2.3}\n" for step in range(200))
    (tmp_path / "log.csv").write_text("step,loss\n" + rows)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sweeper.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_name_that_the_terminal_cannot_show_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    rows = "".join(f"{step},{2.3}\n" for step in range(200))
    (tmp_path / "L\u00e4ufe.csv").write_text("step,loss\n" + rows)
    done = sweeper("check", "L\u00e4ufe.csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "L\\xe4ufe" in done.stdout


def test_without_any_output_the_exit_code_says_all(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,loss\n" + "".join(f"{i},2.3\n" for i in range(200)))
    command = f"{sys.executable} -m sweeper.cli check log.csv >&- 2>&-"
    assert subprocess.run(command, shell=True, cwd=tmp_path, timeout=60).returncode == 1


def test_program_that_crashes_by_itself(tmp_path: Path) -> None:
    done = sweeper("fix", "--json", PROGRAMS / "crash.py", cwd=tmp_path)
    assert done.returncode == 6
    assert "column 'label' is missing" in done.stderr
    assert "crash.py" in done.stderr
    assert json.loads(done.stdout)["verdict"] == "crashed"


@pytest.mark.parametrize(("name", "says"), [("no_optimizer", "optimizer"), ("short", "10")])
def test_program_that_cannot_be_judged(tmp_path: Path, name: str, says: str) -> None:
    done = sweeper("check", PROGRAMS / f"{name}.py", cwd=tmp_path)
    assert done.returncode == 2
    no_traceback(done)
    assert says in done.stderr


def test_our_options_end_where_the_program_begins(tmp_path: Path) -> None:
    (tmp_path / "args.py").write_text("import sys\nsys.exit('got ' + ' '.join(sys.argv[1:]))\n")
    done = sweeper("check", "args.py", "--json", "--steps", "3", cwd=tmp_path)
    assert "got --json --steps 3" in done.stderr
    assert done.returncode == 6


def test_module_and_function_targets(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "data.py").write_text("RATE = 1e-6\n")
    source = (PROGRAMS / "low_rate.py").read_text().replace("lr=1e-6", "lr=RATE")
    (package / "train.py").write_text(
        source.replace("import torch\n", "import torch\nfrom .data import RATE\n", 1)
    )
    done = sweeper("check", "--json", "-m", "pack.train", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    body = "".join(
        f"    {line}\n" for line in (PROGRAMS / "low_rate.py").read_text().splitlines()[1:]
    )
    (tmp_path / "function.py").write_text("def main():\n" + body)
    done = sweeper("check", "--json", "function.py:main", cwd=tmp_path)
    assert done.returncode == 1, done.stderr


def test_lists(tmp_path: Path) -> None:
    for what, word in (
        ("remedies", "learning_rate"), ("detectors", "flat_loss"), ("causes", "label_noise"),
        ("spaces", "documented"), ("experiments", "deep_sigmoid_digits"),
    ):  # fmt: skip
        done = sweeper("list", what, cwd=tmp_path)
        assert done.returncode == 0
        assert word in done.stdout


def test_copy_does_not_overwrite(tmp_path: Path) -> None:
    assert sweeper("copy", "documented", "mine.toml", cwd=tmp_path).returncode == 0
    again = sweeper("copy", "documented", "mine.toml", cwd=tmp_path)
    assert again.returncode == 2
    assert os.path.basename("mine.toml") in again.stderr
