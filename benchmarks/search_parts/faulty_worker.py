"""The worker, for trials of a program that has a fault in it.

A run under a fault is traced like a baseline, because that is what it is. A trial under a fault is
not: its facts are those of the broken program's baseline, as in every study.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.execution import worker
from sweeper.execution.child import become_child
from sweeper.execution.jobs import read_job
from sweeper.types import Job, Outcome

if TYPE_CHECKING:
    from sweeper.program.session import Session
    from sweeper.telemetry.recorder import Recorder

TRIAL = "SWEEPER_BENCHMARK_TRIAL"
preload = worker.preload
_recorder = worker._recorder


def _untraced(job: Job, session: Session) -> Recorder:
    return _recorder(replace(job, fault={}), session)


def run_job(job: Job) -> Outcome:
    if TRIAL in os.environ:
        worker._recorder = _untraced
    return worker.run_job(job)


if __name__ == "__main__":
    run = read_job(Path(sys.argv[1]))
    become_child(run)
    run_job(run)
