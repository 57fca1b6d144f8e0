"""The page of a real study in a real browser: nothing is reported, everything is drawn, in both
colour schemes, on a phone and on paper."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.report.files import write_report
from tests.conftest import PROGRAMS
from tests.report.browser import brightness, looked_at, run_browser, runs_scripts
from tests.report.builders import study_result, with_runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real one, of a program that trains too slowly."""
    folder = tmp_path_factory.mktemp("browser")
    words = ["fix", "--quiet", "--trials", "8", "--study", "study", str(PROGRAMS / "low_rate.py")]
    command = [sys.executable, "-m", "sweeper.cli", *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "study"


def test_the_page_of_a_study(study: Path, tmp_path: Path) -> None:
    page, said = looked_at(tmp_path, study / "report" / "report.html")
    assert said == []
    assert "Fixed" in page["title"]
    assert len(page["headings"]) == 7
    assert {p["name"] for p in page["plots"]} >= {
        "plot-loss", "plot-value", "plot-gradient", "plot-ratio", "plot-seeds"
    }  # fmt: skip
    for plot in page["plots"]:
        assert plot["width"] > 300, plot
        assert plot["height"] > 100, plot
        assert plot["paths"] > 10, plot
        assert plot["texts"] > 5, plot
        assert plot["line"].startswith("rgb"), plot
    assert page["reach"] > 15
    assert page["tiles"] < 800, "verdict, best fix and its numbers are on the first screen"
    assert brightness(page["paper"]) > 240
    assert brightness(page["ink"]) < 60


def test_dark_mode(study: Path, tmp_path: Path) -> None:
    path = study / "report" / "report.html"
    light, _ = looked_at(tmp_path, path)
    dark, said = looked_at(tmp_path, path, dark=True)
    assert said == []
    assert brightness(dark["paper"]) < 40
    assert brightness(dark["ink"]) > 200
    for before, after in zip(light["plots"], dark["plots"], strict=True):
        assert brightness(after["line"]) > brightness(before["line"]), after["name"]


@pytest.mark.parametrize("width", [400, 320, 800, 920])
def test_a_phone_scrolls_only_downwards(study: Path, tmp_path: Path, width: int) -> None:
    page, said = looked_at(tmp_path, study / "report" / "report.html", width=width)
    assert said == []
    assert page["scroll"] <= width
    assert page["wide"] == []
    assert all(p["width"] <= width for p in page["plots"])


def test_paper(study: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    page = (study / "report" / "report.html").as_uri()
    run_browser(tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", page)
    sheets = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    assert 3 <= sheets <= 20


def test_all_of_it_is_seen_without_scripts(study: Path, tmp_path: Path) -> None:
    page = study / "report" / "report.html"
    assert "<script" not in page.read_text()
    assert not runs_scripts(tmp_path, page)
    assert runs_scripts(tmp_path, page, policy=False), "the policy is what forbids it"


@pytest.mark.parametrize("width", [1200, 400])
def test_hostile_names_run_nothing(tmp_path: Path, width: int) -> None:
    attack = '<img src=x onerror="parent.hacked.push(1)"><script>parent.hacked.push(2)</script>'
    long = "unbroken" * 1250
    base = study_result(tmp_path)
    result = replace(
        base, program=replace(base.program, name=attack, argv=(long,)),
        verdict_reason=attack + long, notes=(attack, long), not_applicable={attack: long},
        containment=attack,
    )  # fmt: skip
    with_runs(result, layers=(f"{attack}.weight", f"{long}.weight", "net.4.weight"))
    folder = write_report(result, tmp_path)
    page, said = looked_at(tmp_path, folder / "report.html", width=width)
    assert page["hacked"] == []
    assert said == []
    assert page["scroll"] <= width
    assert page["wide"] == []
