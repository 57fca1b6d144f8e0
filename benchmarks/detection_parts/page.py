"""The result as markdown."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import torch

from detection_parts.oracle import KEPT, LOST
from detection_parts.scores import Scored, by_fault, reliability, share
from sweeper import __version__
from sweeper.types import Interval


def page(
    calibration: Sequence[Scored],
    held_out: Sequence[Scored],
    not_taken: int,
    left: int,
    command: str,
) -> str:
    lines = [
        "# Detection and diagnosis on sound programs with an injected fault",
        "",
        (
            f"`{command}`, sweeper {__version__}, torch {torch.__version__}, "
            f"{platform.machine()} CPU, one thread a run."
        ),
        "",
        (
            f"Harmful: the run kept under {LOST:.0%} of the sound run's skill over chance on the "
            "program's own final evaluation, or printed no finite one; no detector is asked. "
            "Controls: unchanged runs under other seeds and mild changes that kept at least "
            f"{KEPT:.0%}. Faults that did no harm are counted apart; some of them are told all the "
            "same, as a token model whose body is frozen. Intervals are Wilson's at "
            "95 %; runs of one program are not independent, so they are too narrow."
        ),
        "",
        f"{not_taken} runs in which the fault did not take hold are left out."
        + (f" {left} runs are still to be made." if left else ""),
        "",
        *_table(
            "Programs split in two: thresholds and rules may look at the first half only",
            [("calibration", calibration), ("held out", held_out)],
        ),
        "",
        (
            "Rules were fitted on the calibration half. Of the held-out half these tables were "
            "read between versions, not its runs."
        ),
        "",
        *_programs("Held-out half by program", held_out),
        "",
        *_peers(held_out),
        "",
        *_faults("Held-out half by fault", held_out),
        "",
        *_reliability(held_out),
        "",
        *_misses("Held-out half: harmful runs that were not called failing", held_out),
        "",
        *_alarms("Held-out half: controls that were called failing", held_out),
    ]
    return "\n".join(lines) + "\n"


def _cell(found: Interval, n: int) -> str:
    if not n:
        return "-"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] ({round(found.value * n)}/{n})"


def _of(items: Sequence[Scored], truth: str) -> list[Scored]:
    return [item for item in items if item.truth == truth]


def _table(title: str, halves: Sequence[tuple[str, Sequence[Scored]]]) -> list[str]:
    rows = [
        ("programs", lambda s: str(len({x.case.program for x in s}))),
        ("harmful runs called failing (TPR)", lambda s: _rate(_of(s, "harmful"))),
        ("controls called failing (FPR)", lambda s: _rate(_of(s, "healthy"))),
        ("right cause first", lambda s: _named(s, 1)),
        ("right cause among the first three", lambda s: _named(s, 3)),
        ("harmless faults called failing", lambda s: _rate(_of(s, "harmless"))),
        ("controls that fell short (left out)", lambda s: str(len(_of(s, "unsound")))),
    ]
    lines = [f"## {title}", "", "| | " + " | ".join(n for n, _ in halves) + " |"]
    lines.append("|---|" + "---|" * len(halves))
    for name, make in rows:
        lines.append(f"| {name} | " + " | ".join(make(s) for _, s in halves) + " |")
    return lines


def _rate(items: Sequence[Scored]) -> str:
    return _cell(share(items, (x.failing for x in items)), len(items))


def _named(items: Sequence[Scored], first: int) -> str:
    harmful = _of(items, "harmful")
    return _cell(share(harmful, (x.named(first) for x in harmful)), len(harmful))


def _peers(items: Sequence[Scored]) -> list[str]:
    harmful, healthy = _of(items, "harmful"), _of(items, "healthy")
    lines = [
        "## Published rules on the same records (held-out half)",
        "",
        (
            "Reimplemented from their definitions; `detection_parts/peers.py` says what stands in "
            "for signals that a record does not hold."
        ),
        "",
        "| rules | TPR | FPR |",
        "|---|---|---|",
        f"| sweeper | {_rate(harmful)} | {_rate(healthy)} |",
    ]
    for name in sorted({n for x in items for n in x.peers}):
        tpr = share(harmful, (bool(x.peers[name]) for x in harmful))
        fpr = share(healthy, (bool(x.peers[name]) for x in healthy))
        lines.append(f"| {name} | {_cell(tpr, len(harmful))} | {_cell(fpr, len(healthy))} |")
    return lines


def _programs(title: str, items: Sequence[Scored]) -> list[str]:
    lines = [
        f"## {title}",
        "",
        (
            "| program | harmful runs | called failing | cause first | among three | controls |"
            " called failing |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name in sorted({x.case.program for x in items}):
        own = [x for x in items if x.case.program == name]
        harmful, healthy = _of(own, "harmful"), _of(own, "healthy")
        lines.append(
            f"| {name} | {len(harmful)} | {sum(x.failing for x in harmful)} |"
            f" {sum(x.named(1) for x in harmful)} | {sum(x.named(3) for x in harmful)} |"
            f" {len(healthy)} | {sum(x.failing for x in healthy)} |"
        )
    return lines


def _faults(title: str, items: Sequence[Scored]) -> list[str]:
    lines = [
        f"## {title}",
        "",
        "| fault | harmful runs | called failing | cause first | among three | told instead |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in by_fault(items).items():
        wrong: dict[str, int] = {}
        for run in runs:
            if run.causes and not run.named(1):
                wrong[run.causes[0][0]] = wrong.get(run.causes[0][0], 0) + 1
        instead = ", ".join(f"{c} {n}" for c, n in sorted(wrong.items(), key=lambda x: -x[1])[:3])
        lines.append(
            f"| {name} | {len(runs)} | {sum(r.failing for r in runs)} | "
            f"{sum(r.named(1) for r in runs)} | {sum(r.named(3) for r in runs)} | {instead} |"
        )
    return lines


def _reliability(items: Sequence[Scored]) -> list[str]:
    lines = [
        "## Beliefs (held-out half): of the causes told with a belief, how many were right",
        "",
        "| belief | causes told | mean belief | right |",
        "|---|---|---|---|",
    ]
    for low, high, told, right, mean in reliability(items):
        lines.append(f"| {low:.2f} to {high:.2f} | {told} | {mean:.2f} | {right / told:.2f} |")
    return lines


def _misses(title: str, items: Sequence[Scored]) -> list[str]:
    missed = [x for x in _of(items, "harmful") if not x.failing]
    lines = [f"## {title}", ""]
    for x in missed:
        lines.append(
            f"- {x.case.program} under {x.case.fault}, seed {x.case.seed}: kept {x.kept:.2f}"
        )
    return lines if missed else [*lines, "None."]


def _alarms(title: str, items: Sequence[Scored]) -> list[str]:
    false = [x for x in _of(items, "healthy") if x.failing]
    lines = [f"## {title}", ""]
    for x in false:
        what = x.case.fault or "unchanged"
        lines.append(
            f"- {x.case.program}, {what}, seed {x.case.seed}: kept {x.kept:.2f}; "
            f"{', '.join(x.findings)}"
        )
    return lines if false else [*lines, "None."]
