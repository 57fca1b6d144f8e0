"""What the package and the peers say of each run, and how often that is right."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sweeper
from detection_parts.grid import Case, fault_of
from detection_parts.oracle import Truth
from sweeper.faults import parse_fault
from sweeper.types import Interval
from sweeper.verification.intervals import wilson

PACKAGE = Path(sweeper.__file__).resolve().parent
KEEP_EVERY = 40
"""Runs after which what was said is written down, so that a stopped command loses little."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One run with its truth and what was said of it."""

    case: Case
    truth: Truth
    kept: float
    failing: bool
    causes: tuple[tuple[str, float], ...]
    """(cause, belief), most believed first."""
    findings: tuple[str, ...]
    """Critical symptoms."""
    peers: Mapping[str, Sequence[str]]

    @property
    def right(self) -> tuple[str, ...]:
        """Causes that the injected fault is labelled with."""
        if not self.case.fault:
            return ()
        fault, value = parse_fault(self.case.fault)
        return tuple(cause.value for cause in fault.causes(value))

    def named(self, first: int) -> bool:
        """A right cause is among the first so many."""
        return any(cause in self.right for cause, _ in self.causes[:first])


def judged(cases: Sequence[Case], cache: Path, jobs: int) -> dict[Path, dict[str, Any]]:
    """Run folder -> what is said of it; read again only when detectors or causes have changed."""
    version = _version()
    known: dict[str, dict[str, Any]] = {}
    if cache.exists():
        data = json.loads(cache.read_text())
        known = data["runs"] if data.get("version") == version else {}
    todo = [case.folder for case in cases if str(case.folder) not in known]
    if todo:
        context = multiprocessing.get_context("spawn")
        with context.Pool(jobs) as pool:
            told = pool.imap_unordered(_say, todo, chunksize=4)
            for place, (folder, said) in enumerate(told, start=1):
                known[str(folder)] = said
                if place % KEEP_EVERY == 0 or place == len(todo):
                    cache.write_text(json.dumps({"version": version, "runs": known}))
    return {case.folder: known[str(case.folder)] for case in cases}


def _say(folder: Path) -> tuple[Path, dict[str, Any]]:
    import warnings

    from detection_parts.peers import alarms
    from sweeper.diagnosis import diagnose
    from sweeper.telemetry.record import read_captured, read_record

    record = read_record(folder)
    diagnosis = diagnose(record, read_captured(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        peers = alarms(record)
    return folder, {
        "failing": diagnosis.failing,
        "causes": [[h.cause.value, h.belief] for h in diagnosis.hypotheses],
        "findings": [f.symptom.value for f in diagnosis.findings if f.critical],
        "peers": peers,
    }


def _version() -> str:
    """Hash of the source that decides what is said."""
    digest = hashlib.sha256()
    rooms = [PACKAGE / "detectors", PACKAGE / "diagnosis"]
    sources = sorted(p for room in rooms for p in room.glob("*.py"))
    for path in (*sources, Path(__file__).with_name("peers.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def scored(
    cases: Iterable[Case], kept: Mapping[Case, float], said: Mapping[Path, dict[str, Any]],
    truths: Mapping[Case, Truth],
) -> list[Scored]:  # fmt: skip
    return [
        Scored(
            case=case, truth=truths[case], kept=kept[case],
            failing=bool(said[case.folder]["failing"]),
            causes=tuple((str(c), float(b)) for c, b in said[case.folder]["causes"]),
            findings=tuple(said[case.folder]["findings"]), peers=said[case.folder]["peers"],
        )
        for case in cases
        if case in kept
    ]  # fmt: skip


def share(items: Sequence[Scored], hit: Iterable[bool]) -> Interval:
    return wilson(sum(hit), len(items))


def by_fault(items: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Harmful runs by the name of their fault."""
    out: dict[str, list[Scored]] = {}
    for item in items:
        if item.truth == "harmful":
            out.setdefault(fault_of(item.case).name, []).append(item)
    return dict(sorted(out.items()))


def reliability(items: Sequence[Scored]) -> list[tuple[float, float, int, int, float]]:
    """(low, high, told, right, mean belief) of the causes told for harmful runs, by belief."""
    edges = [0.08, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0]
    told = [
        (belief, cause in item.right)
        for item in items
        if item.truth == "harmful"
        for cause, belief in item.causes
    ]
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = [(b, r) for b, r in told if low <= b < high]
        if inside:
            mean = sum(b for b, _ in inside) / len(inside)
            rows.append((low, high, len(inside), sum(r for _, r in inside), mean))
    return rows
