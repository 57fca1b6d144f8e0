"""What is watched while a run goes on: its deadline, its pulse, its memory, the size of what it
prints."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Literal, Protocol

from sweeper.execution.jobs import OUTPUT
from sweeper.execution.memory import group_memory
from sweeper.execution.pulse import read_pulse
from sweeper.types import Job

POLL_SECONDS = 0.5
OUTPUT_LIMIT = 16 * 2**20
"""Bytes of output kept whole; beyond it the first and the last quarter are."""

Ending = tuple[Literal["deadline", "out_of_memory"], str]
"""Status and reason of a run that had to be ended."""


class Waited(Protocol):
    """As much of a handle as waiting needs."""

    def wait(self, seconds: float) -> bool: ...

    @property
    def pid(self) -> int: ...


def watch(job: Job, handle: Waited) -> Ending | None:
    """Wait for the run to end by itself, or return why it has to be ended."""
    start = time.monotonic()
    while True:
        left = job.deadline_seconds - (time.monotonic() - start)
        if handle.wait(max(0.0, min(POLL_SECONDS, left))):
            return None
        if left <= POLL_SECONDS and time.monotonic() - start >= job.deadline_seconds:
            return "deadline", f"deadline of {job.deadline_seconds:g} s"
        if reason := _hangs(job):
            return "deadline", reason
        if reason := _too_large(job, handle.pid):
            return "out_of_memory", reason
        with contextlib.suppress(OSError):
            trim(job.folder / OUTPUT, OUTPUT_LIMIT)


def _hangs(job: Job) -> str:
    if job.silence_seconds is None:
        return ""
    beat = read_pulse(job.folder)
    if beat is None or beat.steps == 0:
        return ""
    silent = time.time() - beat.last
    if silent <= job.silence_seconds:
        return ""
    return (
        f"hangs: no optimizer step for {silent:.0f} s after step {beat.steps} "
        f"(limit {job.silence_seconds:.0f} s; longest before {beat.longest_gap:.2g} s)"
    )


def _too_large(job: Job, pid: int) -> str:
    if not job.memory_bytes or not pid:
        return ""
    held = group_memory(pid, job.memory_bytes)
    if held <= job.memory_bytes:
        return ""
    return f"holds {held / 2**20:.0f} MiB of memory (limit {job.memory_bytes / 2**20:.0f} MiB)"


def trim(path: Path, limit: int) -> None:
    """Cut the middle out of a file that grew beyond ``limit`` bytes.

    Its writers append, so they go on behind what is kept. What they print while the file is cut may
    be lost with the middle.
    """
    if path.stat().st_size <= limit:
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep = limit // 4
        file.seek(size - keep)
        tail = file.read()
        file.truncate(keep)
        file.seek(keep)
        file.write(f"\n... {size - 2 * keep:,} bytes left out ...\n".encode() + tail)
