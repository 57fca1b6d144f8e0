"""``sweeper run --fix``: the program in full, under a fix.

What it writes is the user's own here.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from sweeper.report.fix_file import FixFile, read_fix
from sweeper.types import Job, Program


def run_under_fix(program: Program, fix_path: Path, seed: int) -> int:
    """Run the program in this process under the fix and return its exit code.

    What did not take hold is said on stderr, and so is a program that is not the one of the proof;
    the exit code is 3 where a change did not take hold and the program itself ended well.

    Raises:
        UsageError: a fix file that is missing, damaged, or names unknown remedies.
    """
    content = read_fix(fix_path)
    if note := _another(content, program):
        print(f"sweeper: {note}", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="sweeper-run-"))
    try:
        from sweeper.execution.worker import preload, run_job

        preload()
        import torch

        job = Job(
            program=program, fix=content.fix, seed=seed, folder=folder, facts=content.facts,
            planned_steps=content.planned_steps, contain_files=False,
            threads=torch.get_num_threads(),  # as many as the program alone would have
        )  # fmt: skip
        outcome = run_job(job)
        sys.stdout.flush()
        if outcome.status == "program_error":  # its traceback is on stderr already
            for name, reason in outcome.refused.items():
                print(f"sweeper: {name}: {reason}", file=sys.stderr)
            return outcome.exit_code or 1
        from sweeper.execution.trials import unconfirmed
        from sweeper.telemetry.record import read_record

        missing = (
            unconfirmed(content.fix, read_record(folder)) if outcome.ran else dict(outcome.refused)
        )
        for name, reason in missing.items():
            print(f"sweeper: {name} was not applied: {reason}", file=sys.stderr)
        return 3 if missing and not outcome.exit_code else outcome.exit_code
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _another(content: FixFile, program: Program) -> str:
    """What to say of a program whose source is not that of the proof, or the empty string."""
    if not content.sha256:
        return ""
    if hashlib.sha256(program.path.read_bytes()).hexdigest() == content.sha256:
        return ""
    if content.source is None or content.source.name == program.path.name:
        return "the program has changed since the fix was proven"
    return f"the fix was proven on {content.source}, and this is {program.path}"
