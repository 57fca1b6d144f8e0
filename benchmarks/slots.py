"""Whether two slots on two cores make nearly twice the trials per minute of one, for a program that
only computes.

    python benchmarks/slots.py [--trials 12] [--repetitions 3]

Needs two cores that nobody else uses. One and two slots take turns, so that a change of the
machine's speed meets both.
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
from sweeper.execution.slots import fan_out, make_slots
from sweeper.execution.supervise import Supervisor
from sweeper.program.target import parse_program
from sweeper.types import Fix, Job, Outcome, Program

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "experiments" / "deep_sigmoid_digits" / "train.py"
RESULT = HERE / "results" / "slots.md"
TARGET = 1.7
STEPS = 300


def per_minute(target: Program, slots: int, trials: int) -> float:
    """Trials per minute: the same fix on as many seeds, each from its own process."""
    fix = Fix(changes={"learning_rate": 0.05})
    with tempfile.TemporaryDirectory() as name:
        jobs = [
            Job(
                program=target, fix=fix, seed=seed, max_steps=STEPS,
                folder=run_folder(Path(name), fix, seed, STEPS),
            )
            for seed in range(trials)
        ]  # fmt: skip
        runs = Supervisor(target)
        runs.start()
        todo = iter(jobs)

        def done(job: Job, outcome: Outcome) -> None:
            assert outcome.ran, outcome

        start = time.perf_counter()
        fan_out(lambda: next(todo, None), done, make_slots(slots, devices="cpu"), runs.run)
        seconds = time.perf_counter() - start
        runs.close()
    return 60.0 * trials / seconds


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--repetitions", type=int, default=3)
    words = parser.parse_args(argv)
    available = len(os.sched_getaffinity(0))
    if available < 2:
        parser.error(f"two slots need two cores, got {available}")
    target = parse_program([str(PROGRAM)])
    pairs = [
        (per_minute(target, 1, words.trials), per_minute(target, 2, words.trials))
        for _ in range(words.repetitions)
    ]
    ratios = sorted(two / one for one, two in pairs)
    one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
    text = (
        f"# One slot and two\n\n`python benchmarks/slots.py --trials {words.trials} "
        f"--repetitions {words.repetitions}`; {available} CPU cores, Python "
        f"{platform.python_version()}. `experiments/deep_sigmoid_digits`, "
        f"{STEPS} steps a trial.\n\n"
        f"| slots | trials per minute (median of {words.repetitions}) |\n|---|---|\n"
        f"| 1 | {one:.1f} |\n| 2 | {two:.1f} |\n\n"
        f"Ratio: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f} "
        f"(target at least {TARGET:g}).\n"
    )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
