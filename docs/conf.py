"""Sphinx configuration; the pages on units are written from the code when the site is built."""

from __future__ import annotations

import argparse
from pathlib import Path

from sphinx.application import Sphinx

from sweeper import __version__
from sweeper.arguments import build_parser
from sweeper.catalogue import lines
from sweeper.cli import COMMANDS

project = "sweeper"
copyright = "the authors of sweeper"
release = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing"
]  # links out of docs/, such as ../README.md, are for readers of files
html_theme = "furo"
html_title = "sweeper"
html_show_sourcelink = False

HERE = Path(__file__).parent
GENERATED = HERE / "generated"
TITLES = {
    "detectors": (
        "Detectors",
        "What is wrong: the symptoms, each with its definition, thresholds and source.",
    ),
    "causes": (
        "Causes",
        "Why: the hypotheses, with their constants, the remedies that treat them, and sources.",
    ),
    "remedies": ("Remedies", "What could help: every lever that can be tried and proven."),
    "faults": ("Faults", "What `sweeper inject` can do to a sound program, to test a diagnosis."),
}


def unit_page(what: str) -> str:
    """One section per unit, from the same lines that `sweeper list` prints."""
    title, intro = TITLES[what]
    parts = [
        f"# {title}\n\n{intro}\n\nThis page is written from the code: `sweeper list {what}`.\n"
    ]
    for line in lines(what):
        if line.startswith("    "):
            parts.append(f"- {_escaped(line.strip())}")
        else:
            name, _, text = line.partition(": ")
            parts.append(f"\n## {name}\n\n{_escaped(text)}\n")
    return "\n".join(parts) + "\n"


def commands_page() -> str:
    """Every command with its options, as its own help says them."""
    parts = ["# Commands\n\nWritten from the code.\n"]
    for action in build_parser(COMMANDS)._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, parser in action.choices.items():
                parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=96)
                parts.append(f"\n## sweeper {name}\n\n```text\n{parser.format_help()}```\n")
    return "".join(parts)


def _escaped(text: str) -> str:
    for mark in ("\\", "*", "_", "<", ">", "[", "]", "|", "`"):
        text = text.replace(mark, "\\" + mark)
    return text


def generate(app: Sphinx) -> None:
    """Write the pages that the code knows best."""
    GENERATED.mkdir(exist_ok=True)
    for what in TITLES:
        (GENERATED / f"{what}.md").write_text(unit_page(what), encoding="utf-8")
    (GENERATED / "commands.md").write_text(commands_page(), encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", generate)
