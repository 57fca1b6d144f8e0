"""``sweeper run --fix``: the program in full, under a fix.

What it writes is the user's own here.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from sweeper.report.fix_file import read_fix
from sweeper.types import Job, Program


def run_under_fix(program: Program, fix_path: Path, seed: int) -> int:
    """Run the program in this process under the fix and return its exit code.

    What did not take hold is said on stderr;
    the exit code is then 3 if the program itself ended well.

    Raises:
        UsageError: a fix file that is missing, damaged, or names unknown remedies.
    """
    content = read_fix(fix_path)
    folder = Path(tempfile.mkdtemp(prefix="sweeper-run-"))
    try:
        from sweeper.execution.worker import preload, run_job

        preload()
        job = Job(
            program=program, fix=content.fix, seed=seed, folder=folder, facts=content.facts,
            planned_steps=content.planned_steps, contain_files=False,
            threads=int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
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
