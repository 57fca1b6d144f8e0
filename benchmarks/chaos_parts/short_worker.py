"""A worker whose runs last a moment, so that many of them can be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sweeper.execution.child import become_child
from sweeper.execution.jobs import read_job, write_outcome
from sweeper.types import Job, Outcome


def preload() -> None:
    """Nothing to import."""


def run_job(job: Job) -> Outcome:
    """Work for 0.1 to 0.4 s, depending on the fix."""
    with (job.folder.parent.parent / "attempts.txt").open("a", encoding="ascii") as file:
        file.write(job.folder.name + "\n")
    time.sleep(0.1 + int(job.fix.hash[:2], 16) / 256 * 0.3)
    outcome = Outcome(status="finished", steps=10)
    write_outcome(job.folder, outcome)
    return outcome


if __name__ == "__main__":
    run = read_job(Path(sys.argv[1]))
    become_child(run)
    run_job(run)
