"""What the driver costs: per trial as a study grows, its memory, and the throughput of empty trials
beside plain Optuna with joblib and beside Ray Tune with OptunaSearch.

    python benchmarks/engine.py [--quick] [--without-ray]

Empty trials do nothing but end, so that only the engines are compared: ours forks a child process
per trial and leaves a run folder; Optuna calls a function in a loky worker and keeps its journal;
Ray Tune starts an actor. Ray's part needs ``pip install 'ray[tune]'``.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sweeper.execution.jobs import run_folder
from sweeper.execution.slots import fan_out, make_slots
from sweeper.execution.supervise import Supervisor
from sweeper.program.target import parse_program
from sweeper.search.space import load_space
from sweeper.search.study import JointStudy
from sweeper.telemetry.record import read_record
from sweeper.types import Dimension, Facts, Fix, Job, Judgement, Outcome, Trial

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "experiments" / "deep_sigmoid_digits" / "train.py"
RESULT = HERE / "results" / "engine.md"
SIZES = (100, 1000, 5000)
TARGETS = {100: 20.0, 1000: 20.0, 5000: 50.0}
MEASURED = 40
"""Trials over which the cost at one size is taken."""
EMPTY_TRIALS = 120
SLOTS = 2


def facts_of(program: Path, folder: Path) -> Facts:
    """What a short run of the program shows it to be: the space of a real study."""
    target = parse_program([str(program)])
    job = Job(
        program=target, fix=Fix(), seed=0, max_steps=40, folder=run_folder(folder, Fix(), 0, 40)
    )
    runs = Supervisor(target, warm=False)
    outcome = runs.run(job)
    runs.close()
    assert outcome.ran, outcome
    return read_record(job.folder).facts


def open_study(folder: Path, facts: Facts) -> JointStudy:
    space = load_space(None)
    dimensions: Mapping[str, Mapping[str, Dimension]] = space.applicable(facts)[0]
    return JointStudy(
        folder / "journal.log", dimensions=dimensions, remedies=space.remedies,
        max_changes=space.max_changes, seed=0,
    )  # fmt: skip


def judged(fix: Fix, number: int, score: float) -> Trial:
    """A trial that was run and restored nothing."""
    judgement = Judgement(
        restored=False, score=score, skill=score, metric_name="accuracy", metric=score,
        reasons=("not learning",), violations={"finite": -1.0, "learning": 1.0 - score},
    )  # fmt: skip
    return Trial(
        number=number, phase="joint", fix=fix, seed=0, folder=Path("runs") / fix.hash,
        outcome=Outcome(status="finished", steps=100), judgement=judgement,
    )  # fmt: skip


def driver_cost(facts: Facts, sizes: tuple[int, ...]) -> list[tuple[int, float, float, float]]:
    """(trials, median ms of ask and tell, 90th percentile, MiB of the driver) as a study grows."""
    random = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(Path(folder), facts)
        times: list[float] = []
        for number in range(max(sizes) + 1):
            start = time.perf_counter()
            fix = study.ask()
            assert fix is not None, f"the space is exhausted after {number} trials"
            study.tell(judged(fix, number, float(random.uniform(0, 0.5))))
            times.append(1000 * (time.perf_counter() - start))
            if number in sizes:
                last = times[-MEASURED:]
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                rows.append((number, float(np.median(last)), float(np.percentile(last, 90)), peak))
    return rows


def ours(facts: Facts, count: int) -> float:
    """Trials per second of ask, fork a child, read its outcome, tell."""
    os.environ["SWEEPER_WORKER"] = "empty_worker"
    os.environ["PYTHONPATH"] = str(HERE / "engine_parts")
    target = parse_program([str(PROGRAM)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = open_study(folder, facts)
        runs = Supervisor(target, log=folder / "zygote.log")
        runs.start()
        made = 0

        def next_job() -> Job | None:
            nonlocal made
            if made == count:
                return None
            made += 1
            fix = study.ask()
            assert fix is not None
            return Job(program=target, fix=fix, seed=0, folder=run_folder(folder, fix, 0, None))

        def done(job: Job, outcome: Outcome) -> None:
            assert outcome.status == "finished", outcome
            study.tell(judged(job.fix, made, 0.1))

        start = time.perf_counter()
        fan_out(next_job, done, make_slots(SLOTS), runs.run)
        seconds = time.perf_counter() - start
        runs.close()
    return count / seconds


def nothing(values: dict[str, float]) -> float:
    return sum(values.values())


def optuna_joblib(count: int) -> float:
    """Optuna's TPE with its journal, evaluated by two loky workers."""
    import optuna
    from joblib import Parallel, delayed
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        storage = optuna.storages.JournalStorage(JournalFileBackend(f"{folder}/journal.log"))
        study = optuna.create_study(storage=storage)
        Parallel(n_jobs=SLOTS)(delayed(nothing)({}) for _ in range(SLOTS))  # workers are there
        start = time.perf_counter()
        left = count
        while left:
            batch = [study.ask() for _ in range(min(SLOTS, left))]
            points = [{f"x{i}": t.suggest_float(f"x{i}", 0, 1) for i in range(14)} for t in batch]
            values = Parallel(n_jobs=SLOTS)(delayed(nothing)(p) for p in points)
            for trial, value in zip(batch, values, strict=True):
                study.tell(trial, value)
            left -= len(batch)
        return count / (time.perf_counter() - start)


def ray_tune(count: int) -> float:
    """Ray Tune with OptunaSearch, two trials at once."""
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    space = {f"x{i}": tune.uniform(0, 1) for i in range(14)}

    def empty(config: dict[str, float]) -> None:
        tune.report({"value": sum(config.values())})

    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            empty,
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(metric="value", mode="min"), num_samples=count,
                max_concurrent_trials=SLOTS,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )  # fmt: skip
        start = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - start
        assert results.num_errors == 0 and len(results) == count
    ray.shutdown()
    return count / seconds


def keep(lines: list[str]) -> None:
    """What was measured so far."""
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="up to 1,000 trials, fewer empty ones")
    parser.add_argument("--without-ray", action="store_true", help="leave Ray Tune out")
    words = parser.parse_args()
    sizes = SIZES[:2] if words.quick else SIZES
    empty = EMPTY_TRIALS // 4 if words.quick else EMPTY_TRIALS
    with tempfile.TemporaryDirectory() as folder:
        facts = facts_of(PROGRAM, Path(folder))
    lines = [
        "# What the driver costs", "",
        (f"`python benchmarks/engine.py{' --quick' if words.quick else ''}`; "
        f"{len(os.sched_getaffinity(0))} CPU cores, load average {os.getloadavg()[0]:.1f} when it "
        f"began, Python {platform.python_version()}. One study of the "
        f"space of `experiments/deep_sigmoid_digits`; cost of one ask and tell over the last "
        f"{MEASURED} trials."), "",
        "| trials in the study | median ms | 90th percentile ms | target ms | driver's peak MiB |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for size, middle, high, peak in driver_cost(facts, sizes):
        lines.append(f"| {size} | {middle:.1f} | {high:.1f} | {TARGETS[size]:g} | {peak:.0f} |")
    keep(lines)
    engines: dict[str, Callable[[], float]] = {
        "sweeper (a forked process and a run folder per trial)": lambda: ours(facts, empty),
        "Optuna with joblib (function calls, no isolation)": lambda: optuna_joblib(empty),
    }
    if not words.without_ray:
        engines["Ray Tune with OptunaSearch"] = lambda: ray_tune(max(10, empty // 4))
    lines += [
        "", (f"Empty trials, {SLOTS} at once, trials per second (three repetitions, median and "
        f"range; the ratio is to sweeper):"), "", "| engine | trials/s | range | ratio |",
        "|---|---|---|---|",
    ]  # fmt: skip
    first = math.nan
    for name, engine in engines.items():
        rates = sorted(engine() for _ in range(3))
        first = rates[1] if math.isnan(first) else first
        low, middle, high = rates
        lines.append(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {middle / first:.2f} |")
        keep(lines)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
