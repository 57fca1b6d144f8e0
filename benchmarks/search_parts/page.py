"""The result as text."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from search_parts.methods import METHODS, OURS
from search_parts.peers import PEERS

FLOOR = 6
"""Runs that a study with one verified fix makes at least besides the one that found it."""
Results = Mapping[tuple[str, str, int], Mapping[str, Any]]


def page(
    names: Sequence[str],
    results: Results,
    seeds: int,
    budget: int,
    command: str,
    *,
    unfinished: bool,
) -> str:
    """The tables; ``names`` are the cases that every method has finished with every seed."""
    ratios = {name: ratio(name, results, seeds) for name in names}
    known = [r for r in ratios.values() if math.isfinite(r)]
    best = {m: fixed(names, m, results, seeds) for m in METHODS}
    lines = [
        "# What the first verified fix costs", "",
        (f"`{command}`, sweeper {version('sweeper')}, torch {version('torch')}, optuna "
        f"{version('optuna')}, {platform.machine()} CPU, one thread and one run at a time."), "",
        (f"{len(names)} failing programs, {seeds} study seeds each, at most {budget} runs' worth "
        f"of training steps. A study ends at its first verified fix (restored on 4 of 5 fresh "
        f"seeds); the baseline and the proof are billed too. The space, the judge and the proof "
        f"are the same for all; what a peer finds is proved as it stands. A study that ends "
        f"without a fix counts with what it spent, marked >=. sweeper and AUTOTRAINER's order "
        f"differ between study seeds only as far as they sample. A larger batch takes fewer steps "
        f"for the same samples. Wall seconds are those of the runs when each was made, whatever "
        f"else the machine did then."), "",
        *(["Some programs are still to be measured.", ""] if unfinished else []),
        "| | " + " | ".join(METHODS) + " |", "|---|" + "---|" * len(METHODS),
        _row(
            "programs fixed with most seeds",
            [f"{len(best[m])} of {len(names)}" for m in METHODS],
        ),
        _row("studies with a verified fix", [_studies(names, m, results, seeds) for m in METHODS]),
        _row(
            "training steps, in baseline runs: median [quartiles]",
            [_spread([results[n, m, s]["steps"] / results[n, m, s]["length"] for n in names
            for s in range(seeds)]) for m in METHODS],
        ),
        _row(
            "wall seconds: median [quartiles]",
            [_spread([results[n, m, s]["seconds"] for n in names for s in range(seeds)])
            for m in METHODS],
        ),
        _row("superfluous changes in the winners", [_superfluous(m, results) for m in METHODS]),
        "",
        (f"sweeper's steps over those of the best peer of each program (medians over seeds): "
        f"median {np.median(known):.2f}, quartiles {np.percentile(known, 25):.2f} to "
        f"{np.percentile(known, 75):.2f}, largest {max(known):.2f}; at most one third in "
        f"{sum(r <= 1 / 3 for r in known)} of {len(known)}." if known else
        "No program was fixed by any peer."),
        _beyond(names, results, seeds),
        _over_each(names, results, seeds),
        _lost(names, best), "",
        ("Median training steps until the first verified fix, with quartiles, and of how many "
        "seeds one was found:"), "",
        "| program | " + " | ".join(METHODS) + " | ratio |", "|---|" + "---|" * (len(METHODS) + 1),
    ]  # fmt: skip
    for name in names:
        cells = [_cell(name, m, results, seeds) for m in METHODS]
        told = f"{ratios[name]:.2f}" if math.isfinite(ratios[name]) else "-"
        lines.append(_row(name, [*cells, told]))
    return "\n".join([*lines, ""])


def ratio(name: str, results: Results, seeds: int) -> float:
    """Our median steps over those of the best peer that fixes the program with most seeds; NaN
    when none does, or we do not."""
    if not _is_fixed(name, OURS, results, seeds):
        return math.nan
    found = [
        _median(name, m, results, seeds) for m in PEERS if _is_fixed(name, m, results, seeds)
    ]  # fmt: skip
    return _median(name, OURS, results, seeds) / min(found) if found else math.nan


def _beyond(names: Sequence[str], results: Results, seeds: int) -> str:
    """The same ratio without what nobody can save."""
    found = []
    for name in names:
        floor = FLOOR * results[name, OURS, 0]["length"]
        peers = [
            _median(name, m, results, seeds) - floor
            for m in PEERS
            if _is_fixed(name, m, results, seeds)
        ]
        if peers and _is_fixed(name, OURS, results, seeds) and min(peers) > 0:
            found.append(max(0.0, _median(name, OURS, results, seeds) - floor) / min(peers))
    if not found:
        return ""
    return (
        f"Beyond the baseline and the five runs of a proof, which every method pays: median "
        f"{np.median(found):.2f}, largest {max(found):.2f}; at most one third in "
        f"{sum(r <= 1 / 3 for r in found)} of {len(found)}."
    )


def fixed(names: Sequence[str], method: str, results: Results, seeds: int) -> set[str]:
    return {name for name in names if _is_fixed(name, method, results, seeds)}


def _is_fixed(name: str, method: str, results: Results, seeds: int) -> bool:
    found = sum(results[name, method, s]["winner"] is not None for s in range(seeds))
    return 2 * found > seeds


def _median(name: str, method: str, results: Results, seeds: int) -> float:
    return float(np.median([results[name, method, s]["steps"] for s in range(seeds)]))


def _over_each(names: Sequence[str], results: Results, seeds: int) -> str:
    told = []
    for method in PEERS:
        over = [
            _median(n, OURS, results, seeds) / _median(n, method, results, seeds) for n in names
        ]
        told.append(f"{method} {np.median(over):.2f}")
    return (
        f"Over one peer at a time, programs that it did not fix with what it spent: median "
        f"{', '.join(told)}."
    )


def _lost(names: Sequence[str], best: Mapping[str, set[str]]) -> str:
    lost = [n for n in names if n not in best[OURS] and any(n in best[m] for m in PEERS)]
    return f"Fixed by a peer and not by sweeper: {', '.join(lost) if lost else 'none'}."


def _cell(name: str, method: str, results: Results, seeds: int) -> str:
    own = [results[name, method, s] for s in range(seeds)]
    found = sum(r["winner"] is not None for r in own)
    steps = [r["steps"] for r in own]
    mark = "" if 2 * found > seeds else ">= "
    low, high = np.percentile(steps, [25, 75])
    return f"{mark}{np.median(steps):.0f} [{low:.0f}, {high:.0f}] {found}/{seeds}"


def _studies(names: Sequence[str], method: str, results: Results, seeds: int) -> str:
    found = sum(results[n, method, s]["winner"] is not None for n in names for s in range(seeds))
    return f"{found} of {len(names) * seeds}"


def _superfluous(method: str, results: Results) -> str:
    own = [r for (_, m, _), r in results.items() if m == method and r["winner"] is not None]
    changes = sum(len(r["winner"]) for r in own)
    extra = sum(r["superfluous"] for r in own)
    return f"{extra / changes:.2f} ({extra}/{changes})" if changes else "-"


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.1f} [{low:.1f}, {high:.1f}]"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"
