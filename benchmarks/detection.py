"""How often failing runs are called failing, sound ones sound, and the injected cause is named.

``python benchmarks/detection.py [PROGRAMS ...]`` puts the faults of `sweeper inject` into sound
programs and writes results/detection.md. PROGRAMS are folders or files; a program prints a last
line ``final NAME VALUE`` with its own evaluation and a line ``chance VALUE``. Without any, the
programs beside this file and the sound shipped experiment are used.

Runs are kept by what was run (--cache) and never made twice; a command that stops at --seconds is
continued by giving it again. A run counts as failing by its own final metric alone; see
detection_parts/oracle.py. The programs are split in two halves by kind and name; whatever is
fitted may look at the first half only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from detection_parts.grid import FAULTS, MILD, Grid, Subject, subjects, took_hold
from detection_parts.oracle import kept_skill, truth
from detection_parts.page import page
from detection_parts.scores import judged, scored

HERE = Path(__file__).resolve().parent
DEFAULT = (HERE / "programs", HERE.parent / "experiments" / "healthy_digits" / "train.py")
RESULT = HERE / "results" / "detection.md"
QUICK_FAULTS = ("learning_rate=1000", "learning_rate=1e-6", "shuffled_labels", "no_zero_grad")
QUICK_PROGRAMS = 3


def held_out(programs: Sequence[Subject]) -> set[str]:
    """Every second program of each kind (by the name of its metric), in the order of their names,
    so that both halves hold every kind that there are two of."""
    kinds: dict[str, list[str]] = {}
    for program in sorted(programs, key=lambda p: p.name):
        kinds.setdefault(program.kind, []).append(program.name)
    return {name for names in kinds.values() for name in names[1::2]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*", type=Path, default=list(DEFAULT))
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each fault (default 1)")
    parser.add_argument("--controls", type=int, default=12, help="unchanged runs of each program")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1)")
    parser.add_argument("--seconds", type=float, default=170.0, help="stop making runs after this")
    parser.add_argument("--cache", type=Path, default=Path(".sweeper/detection"))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--quick", action="store_true", help="three programs, four faults")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    cache = options.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    found = subjects(options.programs, cache)
    faults, mild = FAULTS, MILD
    if options.quick:
        found, faults, mild = found[:QUICK_PROGRAMS], QUICK_FAULTS, ()
    grid = Grid(jobs=options.jobs, seconds=options.seconds)
    controls = 2 if options.quick else options.controls
    cases = [
        case
        for subject in found
        for case in grid.make(subject, faults, mild, options.seeds, controls)
    ]
    reasons = {case: took_hold(case) for case in cases}
    taken = [case for case in cases if not reasons[case]]
    kept = kept_skill(taken, found)
    truths = {case: truth(case, kept[case]) for case in kept}
    said = judged([case for case in taken if case in kept], cache / "said.json", options.jobs)
    items = scored(kept, kept, said, truths)
    if not items:
        print("no finished runs; give the command again")
        return 1
    command = " ".join(["python", "benchmarks/detection.py", *sys.argv[1:]])
    held = held_out(found)
    text = page(
        [x for x in items if x.case.program not in held],
        [x for x in items if x.case.program in held],
        len(cases) - len(taken),
        grid.left,
        command,
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)
    print(f"{grid.made} runs made, {grid.left} left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
