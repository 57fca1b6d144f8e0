"""From the lease of a slot to the program's first line after its preparation: in a fresh process,
forked after the imports (forkserver), and forked after the preparation (zygote and template).

    python benchmarks/start.py [--seconds 3 20] [--runs 20] [--slow-runs 5]

The program reads a text, counts and encodes its words for the given seconds, then draws its first
random number and says what time it is. The same program, run by run, in each of the three ways; the
records must be equal byte for byte.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sweeper.execution.jobs import run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.program.target import parse_program
from sweeper.telemetry.record import read_record
from sweeper.types import Facts, Fix, Job, Program

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "start_parts" / "train.py"
RESULT = HERE / "results" / "start.md"
TARGET_MS = 50.0
"""From lease to the first line after the fork point."""
MARK = "first line after the preparation at "


def lease(runs: Supervisor, job: Job, how: str) -> float:
    """Milliseconds from asking for the run to the program's line."""
    start = time.time()
    outcome = runs.run(job)
    assert outcome.status == "finished" and outcome.start == how, outcome
    lines = (job.folder / "output.log").read_text(encoding="utf-8").splitlines()
    said = next(line for line in lines if line.startswith(MARK))
    return 1000.0 * (float(said.removeprefix(MARK)) - start)


def measure(
    target: Program, folder: Path, facts: Facts, how: str, count: int
) -> tuple[list[float], list[bytes]]:
    """Milliseconds and records of ``count`` runs."""
    runs = Supervisor(target, warm=how != "fresh", templates=how == "prepared")
    jobs = [
        Job(
            program=target, fix=Fix(changes={"learning_rate": 0.1}), seed=seed, facts=facts,
            folder=run_folder(folder / how, Fix(changes={"learning_rate": 0.1}), seed, None),
        )
        for seed in range(count)
    ]  # fmt: skip
    try:
        runs.start()
        if how == "prepared":
            objection = runs.prepare(jobs[0])
            assert not objection, objection
        times = [lease(runs, job, how) for job in jobs]
    finally:
        runs.close()
    return times, [(job.folder / "signals.jsonl").read_bytes() for job in jobs]


def rows(seconds: float, many: int, few: int) -> list[str]:
    """Lines of the table for one length of the preparation."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = parse_program([str(PROGRAM), str(seconds)])
        job = Job(program=target, fix=Fix(), seed=0, folder=run_folder(folder, Fix(), 0, None))
        runs = Supervisor(target, templates=False)
        assert runs.run(job).ran
        runs.close()
        facts = read_record(job.folder).facts
        records: list[bytes] = []
        for how, words, count in (
            ("fresh", "fresh process", few),
            ("imports", "forkserver: forked after the imports", few),
            ("prepared", "template: forked after the preparation", many),
        ):
            times, made = measure(target, folder, facts, how, count)
            records = records or made
            assert made[: len(records)] == records[: len(made)], "the records differ"
            lines.append(
                f"| {seconds:g} s | {words} | {statistics.median(times):,.0f} | "
                f"{min(times):,.0f} to {max(times):,.0f} | {count} |"
            )
            print(lines[-1], flush=True)
    return lines


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[3.0, 20.0])
    parser.add_argument("--runs", type=int, default=20, help="from the template")
    parser.add_argument("--slow-runs", type=int, default=5, help="in each of the other two ways")
    words = parser.parse_args(argv)
    lines = [
        "# From the lease of a slot to the program's first line after its preparation", "",
        f"`python benchmarks/start.py {' '.join(argv)}`".replace(" `", "`")
        + f"; {len(os.sched_getaffinity(0))} CPU cores, load average {os.getloadavg()[0]:.1f} when "
        f"it began, Python {platform.python_version()}, "
        f"Linux {platform.release()}. Milliseconds; the target for a template is at most "
        f"{TARGET_MS:g}. The records of the three ways were equal byte for byte.", "",
        "| preparation | start | median ms | range ms | n |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for seconds in words.seconds:
        lines += rows(seconds, words.runs, words.slow_runs)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
