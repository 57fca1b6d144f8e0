"""Devices: which GPUs or MIG parts there are, asked without touching CUDA, and what ``--devices``
means."""

from __future__ import annotations

import os
import re
import subprocess

from sweeper.types import UsageError

QUERY_SECONDS = 10.0
CPU = "cpu"


def gpu_ids() -> tuple[str, ...]:
    """Ids of the GPUs that the user lets us see, in CUDA's order, fit for CUDA_VISIBLE_DEVICES.

    A GPU that is split stands for its MIG parts: it cannot be used as a whole then. The driver asks
    nvidia-smi, since a process that has touched CUDA can neither fork nor be pinned any more.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(part.strip() for part in visible.split(",") if part.strip() not in ("", "-1"))
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=QUERY_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_listing(listing)


def parse_listing(listing: str) -> tuple[str, ...]:
    """Ids out of ``nvidia-smi -L``: ``GPU 0: NVIDIA H200 (UUID: GPU-1234...)``, MIG parts indented
    below their GPU."""
    groups: list[list[str]] = []
    for line in listing.splitlines():
        found = re.search(r"\(UUID: ([^)]+)\)", line)
        if found is None:
            continue
        if line.startswith("GPU "):
            groups.append([found[1]])
        elif groups:
            groups[-1].append(found[1])
    return tuple(name for whole, *parts in groups for name in parts or [whole])


def chosen_devices(text: str | None) -> tuple[str, ...]:
    """Ids for ``--devices``: ``cuda:0,cuda:2``, GPU or MIG UUIDs, or ``cpu`` for none; without it,
    every GPU.

    Raises:
        UsageError: a device that is not there, named twice, or mixed with ``cpu``.
    """
    present = gpu_ids()
    if text is None:
        return present
    words = [word.strip() for word in text.split(",")]
    if words == [CPU]:
        return ()
    shown = ", ".join([CPU, *(f"cuda:{i}" for i in range(len(present)))])
    chosen: list[str] = []
    for word in words:
        number = re.fullmatch(r"(?:cuda:)?(\d+)", word)
        if number and int(number[1]) < len(present):
            name = present[int(number[1])]
        elif word in present:
            name = word
        else:
            raise UsageError(f"--devices must name devices of this machine ({shown}), got {word!r}")
        if name in chosen:
            raise UsageError(f"--devices must name each device once, got {word!r} again in {text}")
        chosen.append(name)
    return tuple(chosen)
