"""``sweeper show FIX.toml``: the fix as a change of the code. The script is read, never written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from sweeper.program.target import parse_program
from sweeper.report.code import as_code, change_lines, printable
from sweeper.report.fix_file import FixFile, advice_lines, read_fix
from sweeper.types import Facts, UsageError


def shown(fix_path: Path, words: Sequence[str], form: str) -> str:
    """What to print.

    Args:
        words: PROGRAM, where it is not the one that the fix file names; may be empty.
        form: ``code`` (a unified diff where places are certain) or ``text`` (advice alone).

    Raises:
        UsageError: a fix file or a program that cannot be read; no program known.
    """
    content = read_fix(fix_path)
    if form == "text":
        return "\n".join(advice_lines(content.fix, content.facts or Facts())) + "\n"
    path = _program(content, words, fix_path)
    source = path.read_bytes()
    folder, name = _seen_from_here(path)
    head = [f"# {content.fix.label}, in {path.name}"]
    if content.sha256 and hashlib.sha256(source).hexdigest() != content.sha256:
        head.append(
            "# The program has changed since the fix was proven: what the run saw may have moved."
        )
    change = as_code(content.fix, content.facts, source, name)
    if change.diff and change.instructions:
        rest = ", ".join(part.remedy for part in change.instructions)
        head.append(f"# The diff is a part of the fix only: {rest} has to be placed by hand.")
    if change.diff:
        where = f" in {folder}" if folder else ""
        head.append(f"# Applied{where} by: sweeper show {fix_path} | patch -p0")
    return "\n".join([*map(printable, head), *change_lines(change)]) + "\n"


def _program(content: FixFile, words: Sequence[str], fix_path: Path) -> Path:
    if words:
        return parse_program(list(words)).path
    if content.source is None:
        raise UsageError(
            f"PROGRAM must be named, got none: {fix_path} does not say which program it is for"
        )
    if not content.source.is_file():
        raise UsageError(
            f"PROGRAM must be named, got none: {content.source} of {fix_path} is not there"
        )
    return content.source


def _seen_from_here(path: Path) -> tuple[str, str]:
    """The folder in which the diff applies (nothing for this one), and the name in its head:
    `patch` refuses absolute names."""
    here = Path.cwd()
    if path.is_relative_to(here):
        return "", path.relative_to(here).as_posix()
    return str(path.parent), path.name
