"""What to type: commands as a shell reads them, seen from the folder where the program was
started."""

from __future__ import annotations

import shlex
from pathlib import Path

from sweeper.report.study_result import StudyResult
from sweeper.report.tables import fix_file_name
from sweeper.types import Program


def target_words(program: Program) -> list[str]:
    """PROGRAM and its arguments."""
    file = seen_from(program.cwd, program.path)
    target = {
        "script": [file],
        "module": ["-m", program.target],
        "function": [f"{file}:{program.target}"],
    }[program.kind]
    return [*target, *program.argv]


def run_command(result: StudyResult, study: Path, position: int = 1) -> str:
    """The program in full under the fix of a rank."""
    fix = seen_from(result.program.cwd, study / fix_file_name(position))
    return shlex.join(["sweeper", "run", "--fix", fix, *target_words(result.program)])


def show_command(result: StudyResult, study: Path, position: int = 1) -> str:
    """The fix of a rank as a change of the code."""
    fix = seen_from(result.program.cwd, study / fix_file_name(position))
    return shlex.join(["sweeper", "show", fix])


def fix_command(result: StudyResult, study: Path) -> str:
    """What makes this study, or goes on with it."""
    options = ["--study", seen_from(result.program.cwd, study)]
    for name, value in sorted(result.settings.items()):
        flag = f"--{name.replace('_', '-')}"
        options += [flag] if value is True else [flag, str(value)]
    return shlex.join(["sweeper", "fix", *options, *target_words(result.program)])


def report_command(result: StudyResult, study: Path) -> str:
    """This report once more."""
    return shlex.join(["sweeper", "report", seen_from(result.program.cwd, study)])


def seen_from(place: Path, path: Path) -> str:
    """The path as short as it can be typed in ``place``."""
    return str(path.relative_to(place) if path.is_relative_to(place) else path)
