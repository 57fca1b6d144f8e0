"""A run's pulse: how many optimizer steps it has made and when the last one was, readable at any
time.

32 bytes in the run folder's ``pulse``, which the child holds as shared memory: a beat costs about a
microsecond and no system call, and the driver (or `sweeper status`) reads it without asking anyone.
"""

from __future__ import annotations

import mmap
import struct
import time
from dataclasses import dataclass
from pathlib import Path

PULSE = "pulse"
_FORM = struct.Struct("<qddd")


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a pulse says."""

    steps: int
    last: float
    """Seconds of `time.time` at the last step, or at the start while there was none."""
    longest_gap: float
    """Longest seconds between two steps so far; 0 before the second."""
    started: float


class Pulse:
    """The child's side. One writer; a reader may see the values of two neighbouring beats."""

    def __init__(self, folder: Path) -> None:
        self._started = self._last = time.time()
        self._steps = 0
        self._gap = 0.0
        with (folder / PULSE).open("w+b") as file:
            file.truncate(_FORM.size)
            self._memory = mmap.mmap(file.fileno(), _FORM.size)
        self._write()

    def beat(self) -> None:
        """An optimizer step was made."""
        now = time.time()
        if now - self._last > self._gap and self._steps:
            self._gap = now - self._last
        self._last = now
        self._steps += 1
        self._write()

    def longest_gap(self) -> float:
        """Longest seconds without a step after the first one, up to now."""
        return max(self._gap, time.time() - self._last) if self._steps else 0.0

    def _write(self) -> None:
        _FORM.pack_into(self._memory, 0, self._steps, self._last, self._gap, self._started)


def read_pulse(folder: Path) -> Beat | None:
    """The pulse of a run, None where there is none yet."""
    try:
        data = (folder / PULSE).read_bytes()
    except OSError:
        return None
    if len(data) < _FORM.size:
        return None
    steps, last, gap, started = _FORM.unpack_from(data)
    return Beat(steps=steps, last=last, longest_gap=gap, started=started) if started else None
