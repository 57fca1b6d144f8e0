"""The documentation holds together: links lead somewhere, generated pages name every unit, shipped
files for the night are what their readers accept."""

from __future__ import annotations

import configparser
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sweeper.arguments import build_parser
from sweeper.catalogue import lines
from sweeper.cli import COMMANDS
from sweeper.execution.jobs import JOB, write_job
from sweeper.program.target import parse_program
from sweeper.telemetry.record import read_record
from sweeper.types import Fix, Job
from tests.conftest import PROGRAMS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def test_links_lead_somewhere() -> None:
    assert len(PAGES) > 8
    missing = [
        f"{page.name}: {target}"
        for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("generated/")
        and not (page.parent / target).exists()
    ]  # fmt: skip
    assert not missing


@pytest.mark.parametrize("what", ["detectors", "causes", "remedies", "faults"])
def test_generated_pages_name_every_unit(what: str) -> None:
    pytest.importorskip("sphinx", reason="the generator belongs to the dev extra")
    page = runpy.run_path(str(DOCS / "conf.py"))["unit_page"](what)
    names = [line.partition(":")[0] for line in lines(what) if not line.startswith("    ")]
    assert len(names) > 10
    assert [f"## {name}" in page for name in names] == [True] * len(names)


def nightly_words(command: str) -> list[str]:
    words = command.split()
    return words[words.index("nightly") :]


def test_the_shipped_service_timer_and_workflow_are_valid() -> None:
    folder = DOCS / "nightly"
    units = {}
    for name in ("sweeper-nightly.service", "sweeper-nightly.timer"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read(folder / name)
        units[name] = parser
    service = units["sweeper-nightly.service"]["Service"]
    asked = build_parser(COMMANDS).parse_args(nightly_words(service["ExecStart"]))
    assert asked.list == Path("nightly.toml")
    assert service["SuccessExitStatus"] == "1"
    assert units["sweeper-nightly.timer"]["Timer"]["OnCalendar"].startswith("*-*-*")
    workflow = yaml.safe_load((folder / "workflow.yml").read_text())
    steps = workflow["jobs"]["nightly"]["steps"]
    commands = [s["run"] for s in steps if "sweeper nightly" in s.get("run", "")]
    assert build_parser(COMMANDS).parse_args(nightly_words(commands[0])).list == Path(
        "nightly.toml"
    )
    (line,) = [
        text for text in (folder / "crontab").read_text().splitlines() if not text.startswith("#")
    ]
    assert re.match(r"^(\d+|\*) (\d+|\*) \* \* \* cd ", line)


def test_the_workflow_keeps_history_and_page_of_a_night_that_found_something() -> None:
    """The command ends with 1 then; a plain cache step would save nothing, and a plain upload
    leaves hidden folders out."""
    steps = yaml.safe_load((DOCS / "nightly" / "workflow.yml").read_text())["jobs"]["nightly"]
    after = {s["uses"].partition("@")[0]: s for s in steps["steps"] if s.get("if") == "always()"}
    assert after["actions/cache/save"]["with"]["path"] == ".sweeper"
    assert after["actions/upload-artifact"]["with"]["include-hidden-files"] is True


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home as the shipped files expect it: ~/models with an environment and a list (of a log, so
    that the night is short)."""
    models = tmp_path / "models"
    (models / ".venv" / "bin").mkdir(parents=True)
    command = models / ".venv" / "bin" / "sweeper"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sweeper.cli "$@"\n')
    command.chmod(0o755)
    rows = "".join(f"{step},nan\n" for step in range(100))
    (models / "run.csv").write_text(f"step,loss\n{rows}")
    (models / "nightly.toml").write_text('[[log]]\nname = "runs"\nglob = "*.csv"\n')
    return tmp_path


def shipped_commands() -> dict[str, str]:
    """As a shell in ~/models would be given them."""
    folder = DOCS / "nightly"
    service = (folder / "sweeper-nightly.service").read_text()
    (exec_start,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    workflow = yaml.safe_load((folder / "workflow.yml").read_text())
    (step,) = [s["run"] for s in workflow["jobs"]["nightly"]["steps"]
               if s.get("run", "").startswith("sweeper")]  # fmt: skip
    (line,) = [t for t in (folder / "crontab").read_text().splitlines() if not t.startswith("#")]
    return {
        "service": exec_start.replace("%h", "$HOME"), "workflow": f".venv/bin/{step}",
        "crontab": line.split(maxsplit=5)[5],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["service", "workflow", "crontab"])
def test_the_shipped_command_makes_a_night(home: Path, name: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", shipped_commands()[name]], cwd=home / "models", check=False,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # the log is of a run that fails
    log = home / "models" / "nightly.log"
    told = log.read_text() if name == "crontab" else done.stdout
    assert "runs: run.csv: failing" in told
    assert (home / "models/.sweeper/nightly-nightly/index.html").is_file()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd")
def test_systemd_takes_the_shipped_units(home: Path) -> None:
    folder = DOCS / "nightly"
    environment = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}

    def verified(text: str) -> str:
        units = home / "units"
        units.mkdir(exist_ok=True)
        (units / "sweeper-nightly.service").write_text(text)
        shutil.copy(folder / "sweeper-nightly.timer", units)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--user", units / "sweeper-nightly.timer",
             units / "sweeper-nightly.service"],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stderr + (f"exit {done.returncode}" if done.returncode else "")

    text = (folder / "sweeper-nightly.service").read_text()
    if "Failed to initialize manager" in (said := verified(text)):
        pytest.skip("systemd cannot verify user units here")
    assert said == ""
    assert "SuccesExit" in verified(text.replace("SuccessExit", "SuccesExit"))


def test_the_remedy_of_the_page_is_a_whole_one(tmp_path: Path) -> None:
    """Saved as the page says, though into a folder that is added to the room."""
    text = (DOCS / "writing-a-remedy.md").read_text(encoding="utf-8")
    name = "gradient_centralisation"
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / f"{name}.py").write_text(code)
    remedy = runpy.run_path(str(tmp_path / f"{name}.py"))["REMEDY"]
    job = Job(
        program=parse_program([str(PROGRAMS / "low_rate.py")]), fix=Fix(changes={name: True}),
        seed=0, folder=tmp_path / "run", max_steps=12,
    )  # fmt: skip
    write_job(job)
    start = (
        f"import sys, sweeper.remedies as room; room.__path__.append({str(tmp_path)!r});"
        "from sweeper.execution.worker import main; sys.exit(main(sys.argv[1:]))"
    )
    subprocess.run(
        [sys.executable, "-c", start, str(job.folder / JOB)], check=True, timeout=120,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    record = read_record(job.folder)
    assert remedy.effect(True, record) == ""
    assert record.outcome.applied[name]["centred"] == 2 * 12  # two layers, each step
    assert remedy.effect(True, replace(record, outcome=replace(record.outcome, applied={})))
    assert remedy.validate(True) is True and "None" not in remedy.advice(True, record.facts)


def test_the_numbers_of_units_are_those_of_the_code() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    comparison = (DOCS / "comparison.md").read_text(encoding="utf-8")
    for what, word in (("detectors", "symptoms"), ("causes", "causes"), ("remedies", "remedies")):
        count = sum(not line.startswith("    ") for line in lines(what))
        told = re.findall(rf"(\d+) {word}\b", readme)
        assert told == [str(count)], what
    (ours,) = [line for line in comparison.splitlines() if line.startswith("| sweeper")]
    assert set(re.findall(r"(\d+ (?:symptoms|remedies))", ours)) <= set(
        re.findall(r"(\d+ (?:symptoms|remedies))", readme)
    )


def test_every_experiment_has_its_result() -> None:
    folders = [p.parent for p in (ROOT / "experiments").glob("*/train.py")]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(folders) >= 6
    for folder in folders:
        assert (folder / "RESULT.md").is_file(), folder.name
        assert f"| `{folder.name}` |" in readme
