"""A change of the code as text that a person reads and `patch` applies: whatever is not diff stands
behind a #, which `patch` passes over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.report.code import Change


def change_lines(change: Change) -> list[str]:
    """The diff, then what has to be placed by hand, then what is worth knowing."""
    lines = change.diff.split("\n")[:-1]  # a form feed is no line end
    for part in change.instructions:
        lines += ["#", f"# By hand: {part.remedy} (no certain place: {part.reason})"]
        lines += [f"#     {line}" for line in part.lines]
    for note in change.notes:
        lines += ["#", f"# Note on {note}."]
    # A terminal obeys escape characters; a diff of a script that holds some must still apply.
    return [printable(line) if line.startswith(("#", "---", "+++")) else line for line in lines]


def printable(line: str) -> str:
    """The line without control characters."""
    return "".join(c if c.isprintable() else " " for c in line)
