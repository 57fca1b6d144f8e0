"""A page in a real browser: what it looks like at a width, and what its console said."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

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
    rows: [...page.querySelectorAll("main tbody tr")].map(e => e.innerText),
    links: [...page.querySelectorAll("main td a")].map(e => e.getAttribute("href")),
    badges: [...page.querySelectorAll(".badge")].map(e =>
      [e.textContent, style(e, "color"), style(e, "backgroundColor")]),
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


def runs_scripts(tmp_path: Path, page: Path, *, policy: bool = True) -> bool:
    """Whether a script that somebody got into the page would run, with the page's own policy or
    without it. Where none runs, all that is seen of the page is seen without JavaScript."""
    text = page.read_text()
    if not policy:
        text = text.replace("Content-Security-Policy", "x")
    path = tmp_path / "scripted.html"
    path.write_text(text.replace("</body>", "<script>document.title = 'ran'</script></body>"))
    shown, _ = run_browser(tmp_path, "--dump-dom", path.as_uri())
    return "<title>ran</title>" in shown


def brightness(colour: str) -> float:
    """0 to 255 of ``rgb(r, g, b)``."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
