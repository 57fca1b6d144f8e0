"""A study of short trials while its children, its zygote and its driver are killed at random.

    python benchmarks/chaos.py [--trials 200] [--minutes 10] [--seed 0]

The driver is started again whenever it was killed. At the end every trial must be in the journal
exactly once, every one of them with its outcome, and nothing may be left running. The killing goes
on for the given minutes or until the trials are made, whichever comes first; the study then goes on
undisturbed to its end.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine import PROGRAM, facts_of

from sweeper.execution.jobs import read_outcome, write_json
from sweeper.search.journal import open_journal

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "chaos.md"
PAUSE = (0.1, 1.5)
"""Seconds between two kills."""
MARK = "SWEEPER_CHAOS"
"""In the environment of everything that belongs to this study."""


def family(mark: str) -> dict[int, str]:
    """Pid -> command line of every process that carries the mark, ourselves left out."""
    found = {}
    for path in Path("/proc").iterdir():
        if not path.name.isdigit() or int(path.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found[int(path.name)] = (path / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return found


def kind(command: str, pid: int, driver: int) -> str:
    if pid == driver:
        return "driver"
    if "sweeper.execution.zygote" not in command:
        return "child"
    # The zygote leads a session of its own; its children lead theirs and share its command line.
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return "zygote" if parent == driver else "child"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    draw, mark = random.Random(words.seed), f"{os.getpid()}-{words.seed}"
    killed: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        study = Path(name) / "study"
        (study / "runs").mkdir(parents=True)
        write_json(Path(name) / "facts.json", facts_of(PROGRAM, Path(name) / "facts").to_dict())
        environment = {
            **os.environ, MARK: mark, "SWEEPER_WORKER": "short_worker",
            "PYTHONPATH": str(HERE / "chaos_parts"),
        }  # fmt: skip
        command = [
            sys.executable, str(HERE / "chaos_parts" / "driver.py"), str(study),
            f"{name}/facts.json", str(words.trials),
        ]  # fmt: skip
        start = time.monotonic()
        driver = subprocess.Popen(command, env=environment)
        while driver.poll() is None or driver.returncode < 0:
            if driver.poll() is not None:
                driver = subprocess.Popen(command, env=environment)
            time.sleep(draw.uniform(*PAUSE))
            if time.monotonic() - start > 60 * words.minutes:
                if driver.wait() >= 0:
                    break
                continue
            targets: dict[str, list[int]] = collections.defaultdict(list)
            for pid, line in family(mark).items():
                try:
                    targets[kind(line, pid, driver.pid)].append(pid)
                except OSError:
                    continue
            if targets:
                chosen = draw.choice(sorted(targets))
                try:
                    os.kill(draw.choice(targets[chosen]), signal.SIGKILL)
                    killed[chosen] += 1
                except ProcessLookupError:
                    pass
        seconds = time.monotonic() - start
        assert driver.returncode == 0, f"the driver ended with {driver.returncode}"
        time.sleep(1.0)
        left = family(mark)
        trials = [t.user_attrs for t in open_journal(study / "journal.log", "joint").get_trials()]
        hashes = [t["hash"] for t in trials]
        outcomes = [read_outcome(study / "runs" / t["folder"]) for t in trials]
        attempts = (study / "attempts.txt").read_text().splitlines()
    missing = sum(o is None or o.status != "finished" for o in outcomes)
    good = len(hashes) == len(set(hashes)) == words.trials and not missing and not left
    report = {
        "trials in the journal": len(hashes), "different trials": len(set(hashes)),
        "without a finished run": missing, "processes left": len(left),
        "runs begun": len(attempts), "kills": dict(killed), "seconds": round(seconds),
    }  # fmt: skip
    text = (
        f"# Chaos\n\n`python benchmarks/chaos.py --trials {words.trials} --minutes "
        f"{words.minutes:g} --seed {words.seed}`; {os.cpu_count()} CPU cores, "
        f"Python {platform.python_version()}\n\n"
        + "\n".join(f"- {key}: {value}" for key, value in report.items())
        + f"\n\n{'Every trial is there exactly once.' if good else 'FAILED'}\n"
    )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    print(json.dumps(report))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
