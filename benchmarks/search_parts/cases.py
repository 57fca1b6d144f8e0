"""The failing programs: shipped ones as they are or with faults put in, and those of a folder."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search_parts.bench import Archive, Bill, PaidBench
from sweeper.baseline import Baseline, diagnosed
from sweeper.execution.jobs import run_folder
from sweeper.execution.slots import Slot
from sweeper.faults import parse_fault
from sweeper.program.target import parse_program
from sweeper.types import Fix, FixValue, Job, Program, ProgramCrashed, UsageError

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
"""Training of one baseline is cut after this."""
SHIPPED = (
    ("mlp_digits", ("learning_rate=30",)),
    ("mlp_digits", ("no_zero_grad",)),
    ("mlp_digits", ("clip=1e-5",)),
    ("mlp_digits", ("dead_relu=10",)),
    ("mlp_digits", ("learning_rate=1e-3", "softmax_output")),
    ("mlp_digits", ("init_scale=1e-3", "weight_decay=1")),
    ("wine_nll", ("learning_rate=1e-6",)),
    ("wine_nll", ("weight_decay=1", "learning_rate=1e-3")),
    ("diabetes_huber", ("learning_rate=1000",)),
    ("diabetes_huber", ("input_scale=1000",)),
    ("regression_cells", ("init_scale=30",)),
    ("regression_cells", ("learning_rate=1e-3", "frozen_body")),
    ("imbalanced_digits", ("sigmoid_output",)),
    ("deep_sigmoid_digits", ()),
)
"""(program, faults) with runs of one or two seconds; some need two remedies."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A failing program with its baseline."""

    name: str
    program: Program
    study: Path
    fault: Mapping[str, FixValue]
    baseline: Baseline
    archive: Archive
    seconds: float
    """Of the baseline's run."""

    def bench(self, bill: Bill) -> PaidBench:
        facts = self.baseline.facts
        return PaidBench(
            program=self.program, study=self.study, facts=facts, horizon=self._cut,
            full=self._cut, planned_steps=facts.steps if facts.finished else None,
            slots=(Slot(index=0),), run=_unused, cancel=lambda: None,
            longest_gap=self.baseline.trial.outcome.longest_gap, fault=self.fault,
            archive=self.archive, bill=bill,
        )  # fmt: skip

    @property
    def _cut(self) -> int | None:
        facts = self.baseline.facts
        return None if facts.finished else facts.steps


def _unused(job: Job) -> object:
    raise AssertionError("runs come from the archive")


def shipped() -> list[tuple[str, Path, tuple[str, ...]]]:
    """(name, program, faults) of what is in the repository."""
    found = []
    for name, faults in SHIPPED:
        places = (
            ROOT / "benchmarks" / "programs" / f"{name}.py",
            ROOT / "experiments" / name / "train.py",
        )
        path = next(p for p in places if p.is_file())
        found.append((" ".join([name, *faults]), path, faults))
    return found


def of_folder(folder: Path) -> list[tuple[str, Path, tuple[str, ...]]]:
    """Every program of a folder; where ``cases.toml`` is beside them, those that it calls
    failing."""
    table = folder / "cases.toml"
    if not table.is_file():
        paths = sorted(folder.glob("*.py"))
    else:
        listed = tomllib.loads(table.read_text(encoding="utf-8")).get("case", [])
        paths = [folder / str(c["file"]) for c in listed if c["kind"] == "failing"]
    if not paths:
        raise UsageError(f"--cases must be a folder with programs, got none in {folder}")
    return [(path.stem, path, ()) for path in paths]


def opened(
    found: Sequence[tuple[str, Path, tuple[str, ...]]],
    cache: Path,
    over: Callable[[], bool],
    say: Callable[[str], None] = print,
) -> Iterator[Case]:
    """The cases with their baselines, one at a time; a program that does not fail is left out
    with a word."""
    archive: Archive | None = None
    last: Path | None = None
    for name, path, faults in found:
        program = parse_program([str(path)])
        if archive is None or path != last:
            if archive is not None:
                archive.close()
            archive, last = Archive(program, over), path
        stem = path.stem if path.stem != "train" else path.parent.name
        study = cache / f"{stem}-{program.identity}"
        try:
            case = _opened(name, program, study, faults, archive)
        except (ProgramCrashed, UsageError) as error:
            say(f"{name}: left out, {str(error).splitlines()[0]}")
            continue
        if not case.baseline.diagnosis.failing:
            say(f"{name}: left out, nothing is found")
            continue
        yield case
    if archive is not None:
        archive.close()


def _opened(
    name: str, program: Program, study: Path, faults: Sequence[str], archive: Archive
) -> Case:
    fault: dict[str, FixValue] = {}
    facts = None
    job = Job(
        program=program, fix=Fix(), seed=0, folder=run_folder(study, Fix(), 0, None),
        max_seconds=SECONDS, deadline_seconds=4 * SECONDS,
    )  # fmt: skip
    outcome, seconds = archive.outcome(job)
    baseline = diagnosed(job, outcome)
    if faults:
        facts = baseline.facts
        for text in faults:
            unit, value = parse_fault(text)
            if reason := unit.refusal(value, facts):
                raise UsageError(f"{text} is not possible: {reason}")
            fault[unit.name] = value
        job = Job(
            program=program, fix=Fix(), seed=0, fault=fault, facts=facts,
            planned_steps=facts.steps, max_seconds=SECONDS, deadline_seconds=4 * SECONDS,
            folder=run_folder(study, Fix(), 0, None, fault),
        )  # fmt: skip
        outcome, seconds = archive.outcome(job)
        if outcome.refused:
            raise UsageError(f"not possible: {'; '.join(outcome.refused.values())}")
        baseline = diagnosed(job, outcome)
        for text in faults:
            unit, value = parse_fault(text)
            if reason := unit.effect(value, baseline.record):
                raise UsageError(f"{text} did not take hold: {reason}")
    return Case(
        name=name, program=program, study=study, fault=fault, baseline=baseline,
        archive=archive, seconds=seconds,
    )  # fmt: skip
