"""Real runs of real programs: one supervisor (and its warm server) per test process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeper.execution.jobs import run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.program.target import parse_program
from sweeper.telemetry.record import read_record
from sweeper.types import Facts, Fix, FixValue, Job, Outcome, RunRecord

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Run:
    """A finished run: its outcome, record and what the program printed."""

    outcome: Outcome
    record: RunRecord
    output: str
    folder: Path


Runner = Callable[..., Run]


@pytest.fixture(scope="session")
def supervisor() -> Iterator[Supervisor]:
    runs = Supervisor(None)
    yield runs
    runs.close()


@pytest.fixture
def run(supervisor: Supervisor, tmp_path: Path) -> Runner:
    """``run(program, fix={}, seed=0, facts=None, **job fields)``.

    The program is a name in tests/programs or a path.
    """

    def make(
        program: str | Path,
        fix: Mapping[str, FixValue] | None = None,
        *,
        seed: int = 0,
        facts: Facts | None = None,
        argv: tuple[str, ...] = (),
        fresh: bool = False,
        **fields: Any,
    ) -> Run:
        path = PROGRAMS / f"{program}.py" if isinstance(program, str) else program
        target = parse_program([str(path), *argv])
        change = Fix(changes=fix or {})
        count = len(list(tmp_path.glob("study-*")))
        folder = run_folder(tmp_path / f"study-{count}", change, seed, fields.get("max_steps"))
        job = Job(
            program=target, fix=change, seed=seed, facts=facts, folder=folder,
            **{"deadline_seconds": 120.0, **fields},
        )  # fmt: skip
        outcome = (Supervisor(None, warm=False) if fresh else supervisor).run(job)
        output = (folder / "output.log").read_text(errors="replace")
        record = read_record(folder) if (folder / "outcome.json").exists() else None
        assert record is not None, f"no record: {outcome} {output}"
        assert not outcome.watch_errors, outcome.watch_errors[0]
        return Run(outcome=outcome, record=record, output=output, folder=folder)

    return make


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))


@pytest.fixture(autouse=True, scope="session")
def no_history() -> Iterator[None]:
    """Studies of the tests are nobody's experience."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPER_HISTORY", "off")
        yield


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heard() -> None:
    """A shell has its background jobs ignore SIGINT, and everything that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
