"""A fix as a change of the user's script: a unified diff where the place is certain, advice where
it is not. One file per remedy, found by walking this package. The script is read, never written.

Why the syntax tree and not text: a rate may stand anywhere as a number, an optimizer is built in
one place. Each edit finds its place by what the imports make of a name and by what the run saw
(facts), and gives up, with a reason, as soon as there are two places or none.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from sweeper.remedies import all_remedies
from sweeper.report.code._base import CodeEdit
from sweeper.report.code._script import LINE_END, Script, Unsure, decoded
from sweeper.report.code._text import change_lines, printable
from sweeper.report.commands import seen_from
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import rank
from sweeper.types import Facts, Fix

__all__ = [
    "Change",
    "Instruction",
    "all_edits",
    "as_code",
    "best_change",
    "change_lines",
    "printable",
]

LAST = "optimizer"
"""The others look for the optimizer by the class that the run saw."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """A part of the fix that a person has to place."""

    remedy: str
    reason: str
    """Why its place is not certain."""
    lines: tuple[str, ...]
    """The code that would be typed."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A whole fix as code."""

    diff: str
    """Unified diff; empty where no place is certain."""
    text: str
    """The changed script."""
    placed: tuple[str, ...]
    """Remedies that are in the diff."""
    instructions: tuple[Instruction, ...]
    notes: tuple[str, ...]
    """Why numbers may differ from those under the fix file; empty where they are the same."""


@cache
def all_edits() -> Mapping[str, CodeEdit]:
    """Remedy -> its edit."""
    names = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    units = [importlib.import_module(f"{__name__}.{name}").EDIT for name in sorted(names)]
    return {unit.remedy: unit for unit in units}


def as_code(fix: Fix, facts: Facts | None, source: bytes, name: str) -> Change:
    """Place every part of the fix.

    Args:
        facts: of the program that the fix was proven on; without them no place is certain.
        source: of the script, as it lies there.
        name: of the script in the head of the diff; its last part is the name of the file.
    """
    instructions, placed, notes = [], [], []
    file = name.rpartition("/")[2]
    try:
        before = text = decoded(source)
    except Unsure as error:
        before = text = ""
        facts, lost = None, str(error)
    else:
        lost = "nothing is known of the program that the fix was made for"
    for remedy in sorted(fix.changes, key=lambda r: (r == LAST, r)):
        edit = all_edits().get(remedy)
        try:
            if facts is None:
                raise Unsure(lost)
            if edit is None:
                raise Unsure("it has no one place in the code")
            script = Script(text, file)
            found = edit.edit(script, fix, facts)
            text = script.with_pieces(found.pieces)
        except Unsure as unsure:
            instructions.append(_instruction(remedy, str(unsure), fix, facts or Facts()))
            continue
        placed.append(remedy)
        if found.note:
            notes.append(f"{remedy}: {found.note}")
    return Change(
        diff=_diff(before, text, name), text=text, placed=tuple(placed),
        instructions=tuple(instructions), notes=tuple(notes),
    )  # fmt: skip


def best_change(result: StudyResult) -> Change | None:
    """The first fix of the ranking as a change of the program that was tried (of the one that lies
    there now, where that was not kept); None without a verified fix or without a program."""
    ranked = rank(result.fixes)
    source = result.source.encode("utf-8", "surrogateescape") or result.program_now
    if not ranked or not ranked[0].verified or not source:
        return None
    program = result.program
    name = seen_from(program.cwd, program.path)
    if name.startswith("/"):
        name = program.path.name
    return as_code(ranked[0].fix, result.facts, source, name)


def _instruction(remedy: str, reason: str, fix: Fix, facts: Facts) -> Instruction:
    known = all_remedies()
    text = known[remedy].advice(fix.changes[remedy], facts) if remedy in known else ""
    return Instruction(remedy=remedy, reason=reason, lines=tuple(text.splitlines()))


def _diff(before: str, after: str, name: str) -> str:
    """As `diff -u` writes it, so that `patch` reads it."""
    out = []
    for line in difflib.unified_diff(_lines(before), _lines(after), name, name):
        out.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(out)


def _lines(text: str) -> list[str]:
    """With their ends, cut where Python cuts them and nowhere else (a form feed is no line end)."""
    data = text.encode("utf-8", "surrogatepass")
    ends = [0, *(m.end() for m in LINE_END.finditer(data))]
    ends += [len(data)] if ends[-1] != len(data) else []
    return [data[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(ends)]
