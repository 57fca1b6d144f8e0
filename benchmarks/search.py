"""What the first verified fix costs: sweeper beside plain Optuna and AUTOTRAINER's fixed order.

``python benchmarks/search.py [--cases FOLDER]`` runs each method on each failing program, with
several study seeds, until it has one verified fix or 40 runs' worth of training steps are spent,
and writes results/search.md. All have the same seams, space, judge and proof. Without --cases,
shipped programs are used, most of them with faults of `sweeper inject` put in.

Runs are kept by what was run (--cache), shared by all methods and never made twice; each method is
billed for every run as if it had made it alone. A command that stops at --seconds is continued by
giving it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from search_parts.bench import OutOfTime
from search_parts.cases import Case, of_folder, opened, shipped
from search_parts.methods import METHODS, study
from search_parts.page import page
from search_parts.studies import BUDGET, Studies

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "search.md"
OVER = "no time is left"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, help="a folder of failing programs instead")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--seeds", type=int, default=5, help="study seeds (default 5)")
    parser.add_argument("--budget", type=int, default=BUDGET, help=f"in runs (default {BUDGET})")
    parser.add_argument("--seconds", type=float, default=170.0, help="stop making runs after this")
    parser.add_argument("--cache", type=Path, default=Path(".sweeper/search"))
    parser.add_argument("--out", type=Path, help="also for a result that is not whole yet")
    parser.add_argument("--quick", action="store_true", help="two cases, two seeds, 20 runs")
    return parser.parse_args()


def main() -> int:
    words = arguments()
    if words.quick:
        words.seeds, words.budget = 2, 20
    cache = words.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    found = shipped() if words.cases is None else of_folder(words.cases.absolute())
    found = [item for item in found if words.only in item[0]][: 2 if words.quick else None]
    begun = time.monotonic()
    studies, names, stopped = Studies(cache, words.budget), [], ""
    cases = opened(found, cache, lambda: time.monotonic() - begun > words.seconds)
    try:
        for case in cases:
            names.append(case.name)
            stopped = fill(case, studies, words.seeds, words.budget) or stopped
    except OutOfTime as error:
        stopped = str(error) or OVER
    if stopped:
        print(f"stopped, {stopped}: give the command again")
    results = {
        (name, method, seed): told
        for name in names for method in METHODS for seed in range(words.seeds)
        if (told := studies.get(name, method, seed)) is not None
    }  # fmt: skip
    whole = [n for n in names if sum(k[0] == n for k in results) == len(METHODS) * words.seeds]
    if not whole:
        return 1
    results = {key: told for key, told in results.items() if key[0] in whole}
    command = " ".join(["python", "benchmarks/search.py", *_asked(words)])
    text = page(whole, results, words.seeds, words.budget, command, unfinished=bool(stopped))
    if not stopped or words.out is not None:
        out = words.out or RESULT
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    print(text)
    return 0


def fill(case: Case, studies: Studies, seeds: int, budget: int) -> str:
    """Make the studies of one case that are missing; why some still are, or the empty string."""
    for seed in range(seeds):
        for method in METHODS:
            if studies.get(case.name, method, seed) is not None:
                continue
            try:
                told = study(method, case, seed, budget).data()
            except OutOfTime as error:
                return str(error) or OVER
            studies.put(case.name, method, seed, told)
            print(f"{case.name} {method} {seed}: {told['winner']} {told['steps']}", flush=True)
    return ""


def _asked(words: argparse.Namespace) -> list[str]:
    """The part of the command line that decides the numbers."""
    said = []
    if words.cases is not None:
        said += ["--cases", words.cases.name]
    if words.only:
        said += ["--only", words.only]
    return [*said, *(["--quick"] if words.quick else ["--seeds", str(words.seeds)])]


if __name__ == "__main__":
    sys.exit(main())
