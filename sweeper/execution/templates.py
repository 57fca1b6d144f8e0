"""Client of a program's templates: when one is worth having, and which run may start from it.

A template (`sweeper.execution.template`) is prepared beside the runs, so nobody waits for it and a
preparation that hangs holds up nothing; until it is ready, and where there is none, runs start from
the zygote.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sweeper.execution.jobs import write_job
from sweeper.execution.warm import Child, Warm, WarmUnavailableError, ZygoteProcess
from sweeper.execution.zygote import WORKER_VARIABLE
from sweeper.program.containment import discard
from sweeper.types import Job, Program

WORTH_SECONDS = 1.0
"""From start to first step, in the baseline, from which a template is tried: below that it saves
less than it costs to prepare."""
WORTH_SHARE = 0.2
"""Of those seconds that must come before the fork point, for the template to be kept."""
TOLD_SECONDS = 3.0
"""Of preparation from which the report says that each run repeats it. `Outcome.start` always says
from where a run was started."""
MOST_SECONDS = 1800.0
"""After which a template that is not ready is given up."""
MOST = 8
"""Templates at once: one per environment of a slot."""

Key = tuple[object, ...]


class TemplateProcess(ZygoteProcess):
    """A template and the thread that reads from it; the zygote reaps it."""

    def __init__(self, zygote: ZygoteProcess, number: int, job: Job) -> None:
        self._zygote, self._number = zygote, number
        self.folder = job.folder
        self.begun = time.monotonic()
        self._path = write_job(job)
        super().__init__(None, None)

    def close(self) -> None:
        if not self.ready.is_set():
            self._zygote.end_template(self._number)
        super().close()
        discard(self.folder / "scratch")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        try:
            self._zygote.fork_template(self._number, self._path, self._theirs.fileno())
        finally:
            self._theirs.close()
        return None


class Templates:
    """Thread-safe. ``notes`` are added to, for the report."""

    def __init__(self, warm: Warm, notes: list[str]) -> None:
        self._warm, self._notes = warm, notes
        self._lock = threading.Lock()
        self._known: dict[Key, TemplateProcess | None] = {}
        """None: tried, and not to be tried again."""
        self._number = 0
        self.room = True
        """There is memory for one process more than there are slots."""

    def submit(self, job: Job, path: Path) -> tuple[ZygoteProcess, Child] | None:
        """A child of a template that is ready, or None; starts one that is worth having."""
        if not self._serves(job):
            return None
        with self._lock:
            key = _key(job)
            if key not in self._known and self._worth(job):
                self._start(key, job)
            template = self._known.get(key)
            if template is None:
                return None
            if not template.ready.is_set():
                if time.monotonic() - template.begun > MOST_SECONDS:
                    self._give_up(key, job, f"it was not ready after {MOST_SECONDS:g} s")
                return None
            if not template.alive:
                self._give_up(key, job, template.reason)
                return None
            if template.seconds < WORTH_SHARE * _preparation(job):
                self._give_up(
                    key, job, f"most of it comes after the fork point: {template.came_to}"
                )
                return None
        try:
            return template, template.submit(path)
        except WarmUnavailableError:
            return None

    def prepare(self, job: Job) -> str:
        """Prepare the template for jobs like this one now, whatever it is worth, and wait. Returns
        why there is none, or the empty string."""
        with self._lock:
            self._start(_key(job), job)
            template = self._known[_key(job)]
        if template is None:
            return "there is no zygote"
        template.ready.wait()
        return "" if template.alive else template.reason

    def close(self) -> None:
        """End them all, with their runs."""
        with self._lock:
            for template in self._known.values():
                if template is not None:
                    template.close()
            self._known.clear()

    def _serves(self, job: Job) -> bool:
        """A template has one thread, and neither a tracer nor a fault of a baseline's."""
        return (
            job.facts is not None and not job.fault and job.contain_files and job.threads == 1
            and WORKER_VARIABLE not in os.environ
        )  # fmt: skip

    def _worth(self, job: Job) -> bool:
        return self.room and len(self._known) < MOST and _preparation(job) >= WORTH_SECONDS

    def _start(self, key: Key, job: Job) -> None:
        self._number += 1
        self._known[key] = None
        with contextlib.suppress(WarmUnavailableError, OSError):
            zygote = self._warm.start()
            folder = job.folder.parent.parent / f"template-{self._number}"
            discard(folder / "scratch")  # of a driver that was killed
            folder.mkdir(parents=True, exist_ok=True)
            self._known[key] = TemplateProcess(zygote, self._number, replace(job, folder=folder))

    def _give_up(self, key: Key, job: Job, reason: str) -> None:
        template = self._known[key]
        self._known[key] = None
        if template is not None:
            template.close()
        if (seconds := _preparation(job)) >= TOLD_SECONDS:
            self._notes.append(
                f"each run makes the program's preparation of {seconds:.0f} s again: {reason}"
            )


def _key(job: Job) -> Key:
    """What runs of one template have in common."""
    program = job.program
    return (
        program.kind, program.path, program.target, program.argv, program.cwd, job.threads,
        tuple(sorted(job.environment.items())), job.allow_side_effects, *_stamps(program),
    )  # fmt: skip


def _stamps(program: Program) -> Iterator[int]:
    """When its files were written: an edit needs another template."""
    for path in (program.path, *program.files):
        with contextlib.suppress(OSError):
            yield path.stat().st_mtime_ns


def _preparation(job: Job) -> float:
    seconds = job.facts.start_seconds if job.facts else math.nan
    return seconds if math.isfinite(seconds) else 0.0
