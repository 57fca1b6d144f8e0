"""The index page of the nights in a real browser."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from sweeper.report.nightly_page import index_text
from sweeper.report.nightly_result import Found, Line, Night
from tests.report.browser import brightness, looked_at, run_browser, runs_scripts

pytestmark = pytest.mark.slow
DAY = 86400.0
BAD = '<img src=x onerror="parent.hacked.push(1)"><script>parent.hacked.push(2)</script>\u202e'


def found(name: str, verdict: str, **more: Any) -> Found:
    values = {"reason": f"what was seen of {name}", "runs": 40, "steps": 3600, "seconds": 60.0}
    return Found(name=name, kind="program", verdict=verdict, **{**values, **more})


def line(*past: Found) -> Line:
    nights = [Night(id=i, started=i * DAY, finished=i * DAY + 1) for i in range(1, len(past) + 1)]
    return Line(found=past[-1], past=tuple(zip(nights, past, strict=True)))


def index(tmp_path: Path) -> Path:
    """Four nights over programs of every kind."""
    fix = {"fix": {"normalisation": "batch"}, "metric": "accuracy", "report": "studies/a/0001"}
    kept = [found("kept", "fixed", baseline=0.1, value=0.9 + 0.01 * i, **fix) for i in range(3)]
    lines = [
        line(*kept, found("kept", "fixed", baseline=0.1, value=0.95, reused=True, runs=1, **fix)),
        line(*kept[:2], found("lost", "fixed", holds=False, baseline=0.1, value=0.7, **fix)),
        line(found("unfixable", "not_fixable", cause="labels_without_signal")),
        line(found("sound", "healthy", metric="accuracy", baseline=0.97, runs=1)),
        line(found("crashing", "crashed", reason="KeyError: 'label'\n" * 40)),
        line(found("log", "failing"), found("log", "healthy")),
        line(found("refused", "refused")),
        line(found(BAD + "unbroken" * 1250, "improved", metric=BAD, baseline=-1e9, report=BAD)),
    ]
    page = tmp_path / "index.html"
    ordered = sorted(lines, key=lambda one: one.urgency)
    page.write_text(index_text("our models", ordered, Night(id=4, started=4 * DAY, finished=None)))
    return page


def luminance(colour: str) -> float:
    """WCAG 2.2: relative luminance of ``rgb(r, g, b)``."""
    parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("dark", [False, True])
def test_the_index_of_the_nights(tmp_path: Path, dark: bool) -> None:
    page, said = looked_at(tmp_path, index(tmp_path), dark=dark)
    assert said == []
    assert page["hacked"] == []
    assert page["headings"] == ["Programs and logs", "What the nights cost"]
    assert "the fix of an earlier night no longer holds" in page["rows"][0]
    assert "unchanged" not in page["rows"][0] and "lost" in page["rows"][0]
    assert page["scroll"] <= 1200 and page["wide"] == []
    assert "studies/a/0001/report.html" in page["links"]
    assert (brightness(page["paper"]) < 40) == dark
    assert (brightness(page["ink"]) > 200) == dark
    assert len(page["badges"]) == 9
    for text, ink, paper in page["badges"]:
        light, deep = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, text  # WCAG 2.2, 1.4.3 contrast (AA)
    words = [text for text, _, _ in page["badges"]]
    assert {"Healthy", "Fails, fix known", "Crashes by itself", "Not looked at"} <= set(words)


@pytest.mark.parametrize("width", [400, 320, 800, 920])
def test_a_phone_scrolls_only_downwards(tmp_path: Path, width: int) -> None:
    page, said = looked_at(tmp_path, index(tmp_path), width=width)
    assert said == []
    assert page["hacked"] == []
    assert page["scroll"] <= width
    assert page["wide"] == []


def test_all_of_it_is_seen_without_scripts(tmp_path: Path) -> None:
    page = index(tmp_path)
    assert "<script" not in page.read_text()
    assert not runs_scripts(tmp_path, page)
    assert runs_scripts(tmp_path, page, policy=False), "the policy is what forbids it"


def test_paper(tmp_path: Path) -> None:
    pdf = tmp_path / "index.pdf"
    run_browser(tmp_path, f"--print-to-pdf={pdf}", index(tmp_path).as_uri())
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) <= 4


def test_costs_are_of_each_night(tmp_path: Path) -> None:
    page, _ = looked_at(tmp_path, index(tmp_path))
    costs = [row for row in page["rows"] if re.match(r"\d", row)]
    cells = [row.split("\t") for row in costs]
    assert [c[0] for c in cells] == ["4", "3", "2", "1"]
    assert all(int(a[2]) < int(b[2]) for a, b in itertools.pairwise(cells)), cells
    assert cells[0][5] == "1 of 1"
