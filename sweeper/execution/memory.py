"""Host memory: how much there is for us, and how much a run with all its processes holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

RESERVE = 0.1
"""Share of the memory that is left to the driver, the zygote and everybody else."""


def total_memory() -> int:
    """Bytes that this process may use: the machine's, or its control group's if that is less; 0
    where neither says."""
    limits = []
    with contextlib.suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    with contextlib.suppress(OSError, ValueError, IndexError):
        limits.append(_field(Path("/proc/meminfo"), "MemTotal"))
    return min((n for n in limits if n > 0), default=0)


def usable_memory() -> int:
    """Bytes that all runs together may hold; 0 for unknown."""
    return int((1.0 - RESERVE) * total_memory())


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes, pages shared with a parent included;
    0 for unknown."""
    with contextlib.suppress(OSError, ValueError):
        return _field(Path("/proc/self/status"), "VmHWM")
    return 0


def group_memory(pid: int, over: int) -> int:
    """Bytes that a process and all that descend from it hold.

    Resident sizes count a page once for each process that shares it, so that a sum above ``over``
    is made again by proportional shares, which are exact and ten times as slow.
    """
    members = list(_family(pid))
    resident = sum(_size(p, "status", "VmRSS") for p in members)
    if resident <= over:
        return resident
    return sum(_size(p, "smaps_rollup", "Pss") for p in members)


def _family(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        yield current
        for task in _listed(Path(f"/proc/{current}/task")):
            with contextlib.suppress(OSError, ValueError):
                text = (task / "children").read_text(encoding="ascii")
                waiting.extend(int(child) for child in text.split())


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(pid: int, file: str, field: str) -> int:
    with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
        return _field(Path(f"/proc/{pid}/{file}"), field)
    return 0


def _field(path: Path, name: str) -> int:
    """Bytes of a ``Name:   123 kB`` line; ValueError when there is none."""
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{path} must have a line {name}")
