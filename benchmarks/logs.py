"""What checking a long log costs: ``sweeper check LOG`` on a million rows in each format.

``python benchmarks/logs.py [--rows N] [--only FORMAT]`` prints a markdown table and writes it to
results/logs.md.

Seconds are CPU time of the whole command (imports, reading, detectors), memory is the peak of its
resident set. Beside them stands what the barest reading of the same file costs in the same run
(csv.reader, json.loads, the tensorboard package), so that the ratio can be compared between
machines.
"""

from __future__ import annotations

import argparse
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).resolve().parent / "results" / "logs.md"
SECONDS, MEGABYTES = 10.0, 500.0
"""Targets for a million rows."""
BARE = {
    "csv": "import csv; [None for _ in csv.reader(open({path!r}))]",
    "jsonl": "import json; [json.loads(line) and None for line in open({path!r})]",
    "trainer_state": "import json; json.load(open({path!r}))",
    "tensorboard": (
        "from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader"
        "; [None for _ in LegacyEventFileLoader({path!r}).Load()]"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one process."""

    seconds: float
    megabytes: float
    exit_code: int


def rows(n: int) -> Iterator[tuple[int, float, float, float]]:
    """Step, loss, accuracy, gradient norm of a sound course."""
    rng = np.random.default_rng(0)
    fall = 0.3 + 2 * np.exp(-np.arange(n) / (n / 8))
    loss = fall * (1 + 0.05 * rng.standard_normal(n))
    norm = 1 + 0.1 * rng.standard_normal(n)
    yield from zip(
        range(n),
        loss.tolist(),
        np.clip(1 - fall / 2.3, 0.1, 1).tolist(),
        norm.tolist(),
        strict=True,
    )


def write_csv(path: Path, n: int) -> None:
    with path.open("w") as file:
        file.write("step,train/loss,train/accuracy,grad_norm,val/loss\n")
        for i, loss, accuracy, norm in rows(n):
            held_out = f"{loss:.5f}" if i % 5000 == 4999 else ""
            file.write(f"{i},{loss:.6f},{accuracy:.5f},{norm:.5f},{held_out}\n")


def write_jsonl(path: Path, n: int) -> None:
    with path.open("w") as file:
        for i, loss, accuracy, norm in rows(n):
            file.write(
                f'{{"_step": {i}, "train/loss": {loss:.6f}, "train/accuracy": {accuracy:.5f}, '
                f'"grad_norm": {norm:.5f}, "_runtime": {i / 10}}}\n'
            )


def write_state(path: Path, n: int) -> None:
    with path.open("w") as file:
        file.write('{"epoch": 1.0, "log_history": [\n')
        for i, loss, _, norm in rows(n):
            comma = "," if i else ""
            file.write(
                f'{comma}{{"epoch": {i / n:.4f}, "grad_norm": {norm:.5f}, '
                f'"learning_rate": 0.001, "loss": {loss:.4f}, "step": {i + 1}}}\n'
            )
        file.write('], "train_batch_size": 8}')


def write_events(path: Path, n: int) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    def record(file: Any, event: Any) -> None:
        data = event.SerializeToString()
        head = struct.pack("<Q", len(data))
        parts = head, struct.pack("<I", masked_crc32c(head)), data
        file.write(b"".join(parts) + struct.pack("<I", masked_crc32c(data)))

    with path.open("wb") as file:
        record(file, Event(wall_time=0.0, file_version="brain.Event:2"))
        for i, loss, _, _ in rows(n):
            event = Event(wall_time=float(i), step=i)
            event.summary.value.add(tag="train/loss", simple_value=loss)
            record(file, event)


FORMATS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "csv": ("log.csv", write_csv),
    "jsonl": ("log.jsonl", write_jsonl),
    "trainer_state": ("trainer_state.json", write_state),
    "tensorboard": ("events.out.tfevents.1.host", write_events),
}


def cost(*command: str) -> Cost:
    """CPU seconds and peak memory of a command."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(
        seconds=usage.ru_utime + usage.ru_stime, megabytes=usage.ru_maxrss / 1024,
        exit_code=process.returncode,
    )  # fmt: skip


def measure(name: str, n: int) -> str:
    """One line of the table.

    Raises:
        RuntimeError: the check of a sound log did not end with exit code 0.
    """
    file, _ = FORMATS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file)
        # In a process of its own: a child's peak memory counts that of its parent at the fork.
        write = (sys.executable, __file__, "--only", name, "--rows", str(n), "--write", str(path))
        subprocess.run(write, check=True)
        started = time.monotonic()
        ours = cost(sys.executable, "-m", "sweeper.cli", "check", str(path))
        wall = time.monotonic() - started
        if ours.exit_code:
            raise RuntimeError(f"a sound log must be healthy, got {ours.exit_code} for {name}")
        bare = cost(sys.executable, "-c", BARE[name].format(path=str(path)))
        size = path.stat().st_size / 1e6
    scale = max(1.0, n / 1_000_000)
    within = ours.seconds <= SECONDS * scale and ours.megabytes <= MEGABYTES
    return (
        f"| {name} | {n:,} | {size:.0f} | {ours.seconds:.1f} | {wall:.1f} | {ours.megabytes:.0f} |"
        f" {bare.seconds:.1f} | {bare.megabytes:.0f} | {ours.seconds / bare.seconds:.1f} |"
        f" {'yes' if within else 'no'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=FORMATS, action="append")
    parser.add_argument("--write", type=Path, help="only write the log of --only to this file")
    asked = parser.parse_args()
    if asked.write:
        FORMATS[asked.only[0]][1](asked.write, asked.rows)
        return
    head = ("format", "rows", "MB", "CPU s", "wall s", "peak MB", "bare reading, CPU s")
    head += ("its peak MB", "ratio", "within target")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in asked.only or FORMATS:
        lines.append(measure(name, asked.rows))
        print(lines[-1], flush=True)
    text = (
        f"# `sweeper check` on long logs\n\n{chr(10).join(lines)}\n\n"
        f"Target for a million rows: {SECONDS:g} s and {MEGABYTES:g} MB. Made by"
        f" `python benchmarks/logs.py --rows {asked.rows}`, Python {platform.python_version()},"
        f" {os.cpu_count()} cores, {platform.machine()}.\n"
    )
    if not asked.only:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(text)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
