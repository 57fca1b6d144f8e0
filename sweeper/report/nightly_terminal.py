"""What a night prints: one line per program, what changed, where the page is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweeper.report.nightly_result import Line
from sweeper.report.terminal import stdout
from sweeper.report.words import clipped
from sweeper.types import Fix

MOST = 70


def print_nightly(
    lines: Sequence[Line], changes: Sequence[str], page: Path, console: Console | None = None
) -> None:
    """Most urgent first."""
    console = console or stdout()
    table = Table("name", "verdict", "known fix", "runs", "what", title="Nightly")
    table.title_justify = "left"
    for line in lines:
        found = line.found
        verdict = found.said
        if found.holds is False:
            verdict += ", its old fix no longer holds"
        elif found.holds:
            verdict += ", its fix still holds"
        elif found.reused:
            verdict += ", nothing changed"
        table.add_row(
            escape(clipped(found.name, MOST)),
            verdict,
            escape(clipped(Fix(changes=dict(found.fix)).label, MOST)) if found.fix else "-",
            str(found.runs),
            escape(clipped(found.headline, MOST)),
            style="" if found.failing else "dim",
        )
    console.print(table)
    for change in changes:
        console.print(f"Changed: {escape(clipped(change, 300))}", highlight=False, soft_wrap=True)
    console.print(f"Page: {escape(str(page))}", highlight=False, soft_wrap=True)
