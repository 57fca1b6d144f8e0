"""What watching a run costs: four ordinary programs, bare and watched in alternation.

``python benchmarks/overhead.py`` prints a markdown table and writes it to results/overhead.md.

A program measures its own training loop (overhead_programs/measure.py): CPU time of the process,
wall time, and the peak of its memory above what was in use when the loop began. Bare is
``python PROGRAM``; watched is the same program as a baseline run: traced, recorded, its files
contained. The part before the loop (imports, data) is in neither figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeper.execution.child import run_environment
from sweeper.execution.supervise import Supervisor
from sweeper.program.target import parse_program
from sweeper.types import Fix, Job

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "overhead_programs"
RESULT = HERE / "results" / "overhead.md"
FIELDS = re.compile(r"^measured cpu=(\S+) wall=(\S+) grown_kb=(\d+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One program, how many steps it trains, and what it may cost."""

    name: str
    steps: int
    target: float
    """Largest overhead in CPU time: 3 % on realistic models, 10 % where a step takes 1 ms."""
    layer_mb: float
    """Its largest layer, the memory that watching may take."""


CASES = (
    Case(name="mlp", steps=6000, target=0.10, layer_mb=256 * 257 * 4 / 2**20),
    Case(name="cnn", steps=300, target=0.03, layer_mb=128 * 64 * 9 * 4 / 2**20),
    Case(name="encoder", steps=40, target=0.03, layer_mb=8192 * 768 * 4 / 2**20),
    Case(name="gpt", steps=150, target=0.03, layer_mb=4 * 128 * 128 * 4 / 2**20),
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Of one run's training loop: seconds, seconds, megabytes."""

    cpu: float
    wall: float
    memory: float


def bare(case: Case, threads: int) -> Sample:
    """Run the program as its user does."""
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / f"{case.name}.py"), str(case.steps)],
        env=os.environ | run_environment(threads),
        capture_output=True,
        text=True,
        check=True,
    )
    return _sample(done.stdout)


def watched(case: Case, threads: int) -> Sample:
    """Run the program as a study's baseline, in a fresh process."""
    program = parse_program([str(PROGRAMS / f"{case.name}.py"), str(case.steps)])
    with tempfile.TemporaryDirectory() as folder, _closing(Supervisor(None, warm=False)) as runs:
        job = Job(
            program=program, fix=Fix(changes={}), seed=0, folder=Path(folder) / "run",
            threads=threads,
        )  # fmt: skip
        outcome = runs.run(job)
        if outcome.status != "finished" or outcome.watch_errors or outcome.steps != case.steps:
            raise RuntimeError(f"a watched run must finish, got {outcome}")
        return _sample((job.folder / "output.log").read_text(encoding="utf-8"))


def _sample(output: str) -> Sample:
    found = FIELDS.search(output)
    if found is None:
        raise RuntimeError(f"a program must print what it measured, got {output!r}")
    return Sample(cpu=float(found[1]), wall=float(found[2]), memory=float(found[3]) / 1024)


@contextmanager
def _closing(runs: Supervisor) -> Iterator[Supervisor]:
    try:
        yield runs
    finally:
        runs.close()


def measure(case: Case, repetitions: int, threads: int) -> list[tuple[Sample, Sample]]:
    """Pairs (bare, watched), run one after the other; who goes first changes from pair to pair."""
    pairs = []
    for index in range(repetitions):
        if index % 2:
            second, first = watched(case, threads), bare(case, threads)
        else:
            first, second = bare(case, threads), watched(case, threads)
        pairs.append((first, second))
        print(
            f"{case.name} {index + 1}/{repetitions}: cpu {first.cpu:.2f} -> {second.cpu:.2f} s,"
            f" wall {first.wall:.2f} -> {second.wall:.2f} s,"
            f" memory {first.memory:.0f} -> {second.memory:.0f} MB",
            file=sys.stderr,
        )
    return pairs


def row(case: Case, pairs: Sequence[tuple[Sample, Sample]]) -> Mapping[str, str]:
    """One line of the table: medians over the pairs, lowest and highest beside the ratios."""

    def ratios(field: str) -> str:
        values = [getattr(w, field) / getattr(b, field) - 1 for b, w in pairs]
        return f"{statistics.median(values):+.1%} ({min(values):+.1%} to {max(values):+.1%})"

    def middle(index: int, field: str) -> float:
        return statistics.median(getattr(pair[index], field) for pair in pairs)

    step_ms = 1000 * middle(0, "cpu") / case.steps
    extra_ms = 1000 * (middle(1, "cpu") - middle(0, "cpu")) / case.steps
    return {
        "program": case.name,
        "steps": str(case.steps),
        "pairs": str(len(pairs)),
        "CPU per step": f"{step_ms:.2f} ms",
        "watching adds": f"{extra_ms:.3f} ms",
        "CPU": ratios("cpu"),
        "wall": ratios("wall"),
        "target CPU": f"<= {case.target:.0%}",
        "memory": f"{middle(0, 'memory'):.0f} MB -> {middle(1, 'memory'):.0f} MB",
        "largest layer": f"{case.layer_mb:.1f} MB",
    }


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Markdown of rows with equal keys."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(entry.values()) + " |" for entry in rows]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [case.name for case in CASES]
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"of {', '.join(names)}")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    options = parser.parse_args(argv)
    if unknown := set(options.programs) - set(names):
        parser.error(f"PROGRAM must be one of {names}, got {sorted(unknown)}")
    if options.repetitions < 1 or options.threads < 1:
        parser.error("--repetitions and --threads must be at least 1")
    chosen = [case for case in CASES if not options.programs or case.name in options.programs]
    measured = {c.name: measure(c, options.repetitions, options.threads) for c in chosen}
    if options.json:
        raw = {name: [(b.__dict__, w.__dict__) for b, w in p] for name, p in measured.items()}
        options.json.write_text(json.dumps(raw), encoding="utf-8")
    text = "\n".join(
        [
            table([row(case, measured[case.name]) for case in chosen]),
            "",
            "CPU and wall: median over the pairs of watched / bare - 1 (lowest to highest).",
            (
                f"Device: CPU, {os.cpu_count()} cores ({platform.machine()}), {options.threads}"
                f" thread(s) per run; Python {platform.python_version()}, torch {_torch_version()}."
            ),
            f"Command: `{' '.join(['python', 'benchmarks/overhead.py', *(argv or sys.argv[1:])])}`",
        ]
    )
    print(text)
    if chosen == list(CASES):
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("# What watching costs\n\n" + text + "\n", encoding="utf-8")


def _torch_version() -> str:
    from importlib.metadata import version

    return version("torch")


if __name__ == "__main__":
    main()
