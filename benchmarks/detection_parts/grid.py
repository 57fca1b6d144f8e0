"""The runs: programs x faults x seeds beside sound controls, each in its own folder, made once."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sweeper.execution.jobs import finished, run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.faults import Fault, parse_fault
from sweeper.program.target import parse_program
from sweeper.telemetry.record import read_record
from sweeper.types import Facts, Fix, FixValue, Job, Program

FAULTS = (
    "learning_rate=1000", "learning_rate=30", "learning_rate=1e-3", "learning_rate=1e-6",
    "init_scale=30", "init_scale=1e-3", "init_scale=0", "activation=sigmoid", "clip=1e-5",
    "no_clip", "weight_decay=1", "softmax_output", "sigmoid_output", "shuffled_labels",
    "noisy_labels=0.6", "noisy_labels=0.9", "misaligned_targets", "no_zero_grad", "frozen_body",
    "missing_parameters", "input_scale=1000", "input_outliers=100000", "nan_inputs",
    "constant_inputs", "tiny_batch", "huge_batch=64", "no_warmup", "early_decay=0.7",
    "dropout=0.95", "eval_mode", "optimizer", "wrong_loss", "no_normalisation",
    "class_imbalance=0.01", "dead_relu=10",
)  # fmt: skip
MILD = (
    "learning_rate=0.6", "learning_rate=1.6", "init_scale=0.8", "init_scale=1.3", "clip=1",
    "weight_decay=1e-5", "noisy_labels=0.05", "dropout=0.15", "huge_batch=2", "activation=tanh",
    "input_scale=0.5", "early_decay=0.99",
)  # fmt: skip
"""Changes that a program should bear: controls that are not mere repetitions. Whether one did is
measured like everything else."""
SECONDS = 40.0
"""Training of one run is cut after this; the sound programs take a tenth of it."""
FINAL = re.compile(r"^final\s+(\S+)\s+([-+0-9.einfa]+)\s*$", re.MULTILINE)
SAYS = re.compile(r"final (\w+)")
CHANCE = re.compile(r"^chance\s+([-+0-9.einfa]+)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run: a program, the fault in it (nothing in a control) and a seed."""

    program: str
    fault: str
    """As typed for `sweeper inject`; empty in a control."""
    seed: int
    mild: bool
    """A control: nothing changed, or something that should do no harm."""
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A sound program with the sound run that tells what faults it can have."""

    name: str
    program: Program
    study: Path
    chance: float
    """Where the program does not print it; NaN for unknown."""
    kind: str
    """Name of its own metric, as its source prints it."""

    def folder(self, fault: str, seed: int) -> Path:
        return run_folder(self.study, Fix(), seed, None, changes_of(fault))


def changes_of(fault: str) -> dict[str, FixValue]:
    """Fault -> value of what was typed; nothing for a control."""
    if not fault:
        return {}
    unit, value = parse_fault(fault)
    return {unit.name: value}


def subjects(places: Sequence[Path], cache: Path) -> list[Subject]:
    """The programs of folders (every ``*.py`` that prints ``final NAME VALUE``) and single files.

    ``cases.toml`` beside them may say which are healthy and what chance is.
    """
    found = []
    for place in places:
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            known = _case(path)
            if known is None or "final " not in path.read_text():
                continue
            program = parse_program([str(path)])
            name = path.stem if path.stem != "train" else path.parent.name
            study = cache / f"{name}-{program.identity}"
            chance = float(known.get("chance", float("nan")))
            kind = SAYS.search(path.read_text())
            found.append(
                Subject(
                    name=name, program=program, study=study, chance=chance,
                    kind=kind[1] if kind else "",
                )
            )  # fmt: skip
    return found


def _case(path: Path) -> dict[str, float] | None:
    """What cases.toml says of a program; None for one that is not healthy."""
    for folder in (path.parent, path.parent.parent):
        table = folder / "cases.toml"
        if not table.is_file():
            continue
        for case in tomllib.loads(table.read_text()).get("case", []):
            if case["id"] == path.stem:
                return case if case["kind"] == "healthy" or folder != path.parent else None
    return {}


class Grid:
    """Makes what is missing, until the time is over.

    Args:
        jobs: runs at a time.
        seconds: wall clock; None for no limit.
    """

    def __init__(
        self, *, jobs: int, seconds: float | None, say: Callable[[str], None] = print
    ) -> None:
        self.jobs, self.seconds, self.say = jobs, seconds, say
        self.start = time.monotonic()
        self.made = 0
        self.left = 0

    @property
    def over(self) -> bool:
        return self.seconds is not None and time.monotonic() - self.start > self.seconds

    def make(
        self,
        subject: Subject,
        faults: Sequence[str],
        mild: Sequence[str],
        seeds: int,
        controls: int,
    ) -> list[Case]:
        """The cases of a program that exist now; what was missing is run first."""
        wanted = [
            *[("", seed, True) for seed in range(1, controls + 1)],
            *[(fault, 1, True) for fault in mild],
            *[(fault, seed, False) for seed in range(1, seeds + 1) for fault in faults],
        ]
        runs: Supervisor | None = None
        try:
            if not finished(subject.folder("", 0)):
                if self.over:
                    self.left += 1 + len(wanted)
                    return []
                runs = Supervisor(subject.program)
                runs.run(self._job(subject, "", 0, None))
                self.made += 1
            facts = read_record(subject.folder("", 0)).facts
            possible = [item for item in wanted if not item[0] or not _refused(item[0], facts)]
            missing = [item for item in possible if not finished(subject.folder(item[0], item[1]))]
            if missing and not self.over:
                runs = runs or Supervisor(subject.program)
                self._run(runs, subject, missing, facts)
        finally:
            if runs is not None:
                runs.close()
        return [
            Case(
                program=subject.name, fault=fault, seed=seed, mild=is_mild,
                folder=subject.folder(fault, seed),
            )
            for fault, seed, is_mild in possible
            if finished(subject.folder(fault, seed))
        ]  # fmt: skip

    def _run(
        self, runs: Supervisor, subject: Subject, missing: list[tuple[str, int, bool]], facts: Facts
    ) -> None:
        def one(item: tuple[str, int, bool]) -> bool:
            if self.over:
                return False
            runs.run(self._job(subject, item[0], item[1], facts))
            return True

        with ThreadPoolExecutor(self.jobs) as pool:
            done = sum(pool.map(one, missing))
        self.made += done
        self.left += len(missing) - done
        self.say(f"{subject.name}: {done} of {len(missing)} missing runs made")

    @staticmethod
    def _job(subject: Subject, fault: str, seed: int, facts: Facts | None) -> Job:
        return Job(
            program=subject.program, fix=Fix(), fault=changes_of(fault), seed=seed,
            facts=facts if fault else None, max_seconds=SECONDS, deadline_seconds=4 * SECONDS,
            planned_steps=facts.steps if facts and fault else None,
            folder=subject.folder(fault, seed),
        )  # fmt: skip


def _refused(text: str, facts: Facts) -> str:
    fault, value = parse_fault(text)
    return fault.refusal(value, facts)


def took_hold(case: Case) -> str:
    """Why the fault does not show in the run; empty when it does."""
    outcome = finished(case.folder)
    if outcome is None or outcome.refused:
        return "; ".join(outcome.refused.values()) if outcome else "no outcome"
    if not case.fault:
        return ""
    fault, value = parse_fault(case.fault)
    return fault.effect(value, read_record(case.folder))


def fault_of(case: Case) -> Fault:
    return parse_fault(case.fault)[0]


def cut(folder: Path) -> bool:
    """The run was ended for its time, before the program's own evaluation."""
    outcome = finished(folder)
    return outcome is not None and outcome.status in ("budget", "deadline")


def printed(folder: Path) -> tuple[float, float]:
    """(metric, chance) that the program printed itself; NaN for what it did not."""
    path = folder / "output.log"
    text = path.read_text(errors="replace") if path.exists() else ""
    metric, chance = FINAL.findall(text), CHANCE.findall(text)
    return _number(metric[-1][1] if metric else ""), _number(chance[-1] if chance else "")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def each(cases: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    """The cases by program."""
    for name in dict.fromkeys(case.program for case in cases):
        yield name, [case for case in cases if case.program == name]
