"""The page of a real study in a real browser: nothing is reported, everything is drawn, in both
colour schemes, on a phone and on paper."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.report.files import write_report
from tests.conftest import PROGRAMS
from tests.report.builders import study_result, with_runs

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROBE = """
<!doctype html><meta charset="utf-8"><title>probe</title>
<iframe id="page" src="{page}" style="width: {width}px; height: 2000px; border: 0"></iframe>
<pre id="found"></pre>
<script>
window.hacked = [];
const LINE = "path[style*='stroke: var(--before)'], path[style*='stroke: var(--after)']";
document.getElementById("page").onload = () => {{
  const view = document.getElementById("page").contentWindow, page = view.document;
  const box = e => e.getBoundingClientRect();
  const style = (e, key) => view.getComputedStyle(e)[key];
  const seen = [...page.querySelectorAll("main *")].filter(e => box(e).width > 0);
  const wide = seen.filter(e => box(e).right > {width} + 1 && !e.closest("svg"));
  document.getElementById("found").textContent = JSON.stringify({{
    hacked: window.hacked,
    title: page.title,
    scroll: page.documentElement.scrollWidth,
    wide: wide.slice(0, 5).map(e => e.outerHTML.slice(0, 200)),
    headings: [...page.querySelectorAll("h2")].map(e => e.textContent),
    plots: [...page.querySelectorAll("svg.plot")].map(e => ({{
      name: e.parentElement.id, width: box(e).width, height: box(e).height,
      paths: e.querySelectorAll("path").length, texts: e.querySelectorAll("text").length,
      line: style(e.querySelector(LINE), "stroke"),
    }})),
    paper: style(page.body, "backgroundColor"),
    ink: style(page.body, "color"),
    reach: [...page.querySelectorAll("a[href], summary, [tabindex]")].filter(e => e.tabIndex >= 0
      || e.id === "main").length,
    verdict: box(page.querySelector("h1")).bottom,
    tiles: page.querySelector(".tiles") ? box(page.querySelector(".tiles")).bottom : 0,
  }});
}};
</script>
"""


def browser() -> str:
    """A Chromium; without one this fails, because a page that nobody opened is not tested."""
    wanted = os.environ.get("SWEEPER_BROWSER")
    found = wanted or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(
            "these tests need a Chromium: apt-get install chromium, or name one in SWEEPER_BROWSER"
        )
    return found


def run_browser(tmp_path: Path, *words: str) -> tuple[str, str]:
    """(what it printed, what it logged); ends with an error when the browser does."""
    command = [
        browser(), "--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--virtual-time-budget=8000", "--allow-file-access-from-files", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []), *words,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def looked_at(
    tmp_path: Path, page: Path, *, width: int = 1200, dark: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """What the page is like at a width, and what its console said."""
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(page=page.as_uri(), width=width))
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    out, log = run_browser(tmp_path, *scheme, "--dump-dom", probe.as_uri())
    found = re.search(r'<pre id="found">(.*?)</pre>', out, re.DOTALL)
    assert found, out[:2000]
    assert found[1], f"the page did not load: {log[-2000:]}"
    said = [line for line in log.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(found[1])), said


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


def brightness(colour: str) -> float:
    """0 to 255 of ``rgb(r, g, b)``."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


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


@pytest.mark.parametrize("width", [400, 320, 700])
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
