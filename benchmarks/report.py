"""What the report of a large study costs: seconds of `sweeper report`, size of the page.

    python benchmarks/report.py [--trials N]

A real study of a few runs is made first. It is then grown to N trials: each further one has a run
folder of its own, with the record of one of the real runs and another learning rate. The report is
made twice, from the result as `sweeper fix` leaves it, and from the run folders alone, as of a
study that was cut off (every run is read and judged again). Beside it stands the same report of the
study before it grew, made in the same minute: the ratio can be compared between machines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from sweeper.execution.jobs import run_folder
from sweeper.report.archive import FILE
from sweeper.report.files import write_report
from sweeper.reread import reread
from sweeper.types import Fix, Trial

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "experiments" / "deep_sigmoid_digits" / "train.py"
RESULT = HERE / "results" / "report.md"
SECONDS, MEGABYTES = 10.0, 3.0
"""Targets for the page of a study with a thousand trials."""


def make(study: Path) -> None:
    words = ["fix", "--quiet", "--budget", "none", "--trials", "12", "--study", str(study)]
    command = [sys.executable, "-m", "sweeper.cli", *words, str(PROGRAM)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def grow(study: Path, trials: int) -> None:
    """Further trials behind those of the study, until there are so many."""
    result = reread(study)
    models = [t for t in result.trials if t.fix.changes and t.outcome.ran and t.seed == 0]
    more = []
    for number in range(trials - len(result.trials)):
        model = models[number % len(models)]
        changes = {**model.fix.changes, "learning_rate": 1e-4 * (1 + number)}
        more.append(cloned(study, model, Fix(changes=changes)))
    write_report(replace(result, trials=(*result.trials, *more)), study)


def cloned(study: Path, model: Trial, fix: Fix) -> Trial:
    folder = run_folder(study, fix, model.seed, None)
    folder.mkdir()
    for path in model.folder.iterdir():
        if path.is_file() and path.name != "job.json":
            os.link(path, folder / path.name)
    job = json.loads((model.folder / "job.json").read_text())
    job |= {"fix": dict(fix.changes), "folder": str(folder)}
    (folder / "job.json").write_text(json.dumps(job))
    return replace(model, fix=fix, folder=folder)


def cost(study: Path) -> dict[str, float]:
    """Of one `sweeper report` as a process, and of its page."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-m", "sweeper.cli", "report", str(study)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    page = study / "report" / "report.html"
    return {
        "wall": time.perf_counter() - began,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "megabytes": page.stat().st_size / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory(prefix="sweeper-report-") as name:
        study = Path(name) / "study"
        make(study)
        small = len(reread(study).trials)
        rows = [("finished", small, cost(study))]
        grow(study, trials)
        rows.append(("finished", trials, cost(study)))
        (study / "report" / FILE).unlink()
        (study / "report" / "verdict.json").unlink()
        rows.append(("from the run folders", trials, cost(study)))
    first = rows[0][2]["cpu"]
    lines = [
        "# The report of a large study",
        "",
        "| study | trials | CPU s | wall s | ratio of CPU | page, MB | within target |",
        "|---|---|---|---|---|---|---|",
    ]
    for state, count, one in rows:
        good = one["cpu"] < SECONDS and one["megabytes"] < MEGABYTES
        lines.append(
            f"| {state} | {count:,} | {one['cpu']:.1f} | {one['wall']:.1f} | "
            f"{one['cpu'] / first:.1f} | {one['megabytes']:.2f} | {'yes' if good else 'no'} |"
        )
    made = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    lines += ["", f"Target for a thousand trials: {SECONDS:g} s and {MEGABYTES:g} MB. Seconds are"]
    lines[-1] += f" of the whole command. Made by `python benchmarks/report.py`, {made}."
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
