"""Do fixes called verified hold? Each is run again on further seeds that no proof has seen.

``python benchmarks/fixes.py [--cases FOLDER]`` takes the failing programs of benchmarks/search.py,
lets sweeper search until three fixes (--wanted) are verified or the budget is spent, adds what its
peers brought through the same proof where that benchmark has been run, and makes five further seeds
of every fix. A fix holds when it restores on at least four of them, the rule that called it
verified. Writes results/fixes.md. Runs are kept in the cache of benchmarks/search.py.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from search_parts.bench import Bill, OutOfTime
from search_parts.cases import Case, of_folder, opened, shipped
from search_parts.methods import OURS, until
from search_parts.peers import PEERS
from search_parts.studies import BUDGET, Studies

from sweeper.search.campaign import is_restored
from sweeper.types import Fix
from sweeper.verification.fresh_seeds import Rule, held_against
from sweeper.verification.intervals import wilson

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "fixes.md"
FURTHER = tuple(range(2001, 2006))


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A fix called verified, and the further seeds."""

    case: str
    by: str
    fix: Fix
    proven: int
    """Seeds restored in the proof."""
    again: int
    """Seeds restored of `FURTHER`."""

    @property
    def holds(self) -> bool:
        return self.again >= Rule(seeds=len(FURTHER)).needed


def checked(case: Case, studies: Studies, words: argparse.Namespace) -> list[Checked]:
    """The fixes of one program.

    Raises:
        OutOfTime: a run is missing and none may be made now.
    """
    bench = case.bench(Bill(limit=words.budget * case.baseline.trial.outcome.steps))
    results = [v for v in until(case, bench, 0, words.wanted).results() if v.verified]
    best = max((v.skill for v in results), default=None)
    proven = {v.fix.hash: (OURS, v.fix, v.restored, best) for v in results}
    for name, seed in itertools.product(PEERS, range(words.seeds)):
        told = studies.get(case.name, name, seed)
        if told is not None and told["winner"] is not None:
            fix = Fix(changes=told["winner"])
            seeds = sum(_restored(case, fix, fresh, None) for fresh in Rule().fresh)
            proven.setdefault(fix.hash, (name, fix, seeds, None))
    return [
        Checked(case=case.name, by=by, fix=fix, proven=seeds, again=_again(case, fix, best))
        for by, fix, seeds, best in proven.values()
    ]


def _again(case: Case, fix: Fix, best: float | None) -> int:
    return sum(_restored(case, fix, seed, best) for seed in FURTHER)


def _restored(case: Case, fix: Fix, seed: int, best: float | None) -> bool:
    bench = case.bench(Bill(limit=0))
    trial, _ = case.archive.trial(bench.job(fix, seed, full=True), "verification")
    return is_restored(held_against(trial, best))


def page(found: Sequence[Checked], command: str, *, unfinished: bool) -> str:
    """The result as text."""
    ours = [c for c in found if c.by == OURS]
    lines = [
        "# Do fixes called verified hold on further seeds?", "",
        (f"`{command}`, sweeper {installed('sweeper')}, torch {installed('torch')}, "
        f"{platform.machine()} CPU, one thread a run."), "",
        (f"Verified: restored on at least 4 of the 5 fresh seeds of the proof. Holds: restored on "
        f"at least 4 of {len(FURTHER)} further seeds ({FURTHER[0]} to {FURTHER[-1]}). Intervals "
        f"are Wilson's at 95 %; fixes of one program are not independent. Peers: what "
        f"{', '.join(PEERS)} brought through the same proof in benchmarks/search.py."), "",
        *(["Some programs are still to be measured.", ""] if unfinished else []),
        "| fixes called verified | programs | fixes | hold | further seeds restored |",
        "|---|---|---|---|---|",
        _row("by sweeper", ours),
        _row("by peers", [c for c in found if c.by != OURS]),
        _row("5 of 5 seeds in the proof", [c for c in found if c.proven == 5]),
        _row("4 of 5 seeds in the proof", [c for c in found if c.proven == 4]),
        _row("all", found), "",
        "| program | by | fix | in the proof | further seeds |", "|---|---|---|---|---|",
        *(
            f"| {c.case} | {c.by} | {c.fix.label} | {c.proven}/5 | {c.again}/{len(FURTHER)} |"
            for c in found
        ), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(name: str, found: Sequence[Checked]) -> str:
    if not found:
        return f"| {name} | 0 | 0 | - | - |"
    share = wilson(sum(c.holds for c in found), len(found))
    seeds = statistics.mean(c.again / len(FURTHER) for c in found)
    told = f"{sum(c.holds for c in found)} ({share.value:.3f} [{share.low:.3f}, {share.high:.3f}])"
    return f"| {name} | {len({c.case for c in found})} | {len(found)} | {told} | {seeds:.3f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, help="a folder of failing programs instead")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--wanted", type=int, default=3, help="fixes of a study (default 3)")
    parser.add_argument("--seeds", type=int, default=1, help="study seeds of the peers (default 1)")
    parser.add_argument("--budget", type=int, default=BUDGET, help=f"in runs (default {BUDGET})")
    parser.add_argument("--seconds", type=float, default=170.0, help="stop making runs after this")
    parser.add_argument("--cache", type=Path, default=Path(".sweeper/search"))
    parser.add_argument("--out", type=Path, help="also for a result that is not whole yet")
    words = parser.parse_args()
    cache = words.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    studies = Studies(cache, words.budget)
    listed = shipped() if words.cases is None else of_folder(words.cases.absolute())
    listed = [item for item in listed if words.only in item[0]]
    begun, found = time.monotonic(), list[Checked]()
    cases = opened(listed, cache, lambda: time.monotonic() - begun > words.seconds)
    stopped = ""
    try:
        for case in cases:
            found += checked(case, studies, words)
    except OutOfTime as error:
        stopped = str(error) or "no time is left"
        print(f"stopped, {stopped}: give the command again")
    if not found:
        return 1
    command = " ".join(["python", "benchmarks/fixes.py", *_asked(words)])
    text = page(found, command, unfinished=bool(stopped))
    if not stopped or words.out is not None:
        out = words.out or RESULT
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    print(text)
    return 0


def _asked(words: argparse.Namespace) -> list[str]:
    said = [] if words.cases is None else ["--cases", words.cases.name]
    said += ["--only", words.only] if words.only else []
    return [*said, "--wanted", str(words.wanted), "--seeds", str(words.seeds)]


if __name__ == "__main__":
    sys.exit(main())
