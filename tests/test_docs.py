"""The documentation holds together: links lead somewhere, generated pages name every unit, shipped
files for the night are what their readers accept."""

from __future__ import annotations

import configparser
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sweeper.catalogue import lines
from sweeper.cli import build_parser

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


def test_the_shipped_service_timer_and_workflow_are_valid(tmp_path: Path) -> None:
    folder = DOCS / "nightly"
    units = {}
    for name in ("sweeper-nightly.service", "sweeper-nightly.timer"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read(folder / name)
        units[name] = parser
    service = units["sweeper-nightly.service"]["Service"]
    asked = build_parser().parse_args(nightly_words(service["ExecStart"]))
    assert asked.list == Path("nightly.toml")
    assert service["SuccessExitStatus"] == "1"
    assert units["sweeper-nightly.timer"]["Timer"]["OnCalendar"].startswith("*-*-*")
    workflow = yaml.safe_load((folder / "workflow.yml").read_text())
    steps = workflow["jobs"]["nightly"]["steps"]
    commands = [s["run"] for s in steps if "sweeper nightly" in s.get("run", "")]
    assert build_parser().parse_args(nightly_words(commands[0])).list == Path("nightly.toml")
    (line,) = [
        text for text in (folder / "crontab").read_text().splitlines() if not text.startswith("#")
    ]
    assert re.match(r"^(\d+|\*) (\d+|\*) \* \* \* cd ", line)
    if analyser := shutil.which("systemd-analyze"):
        copy = tmp_path / "sweeper-nightly.timer"
        shutil.copy(folder / "sweeper-nightly.timer", copy)
        time = units["sweeper-nightly.timer"]["Timer"]["OnCalendar"]
        done = subprocess.run([analyser, "calendar", time], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
