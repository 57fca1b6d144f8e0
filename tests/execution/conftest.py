"""Fixtures of the execution tests: jobs for the fake worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.execution.jobs import run_folder
from sweeper.types import Fix, Job, Program

MakeJob = Callable[..., Job]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A script that only imports the standard library."""
    path = tmp_path / "train.py"
    path.write_text(
        "import json\nfrom xml.dom import minidom\nimport neighbour\n", encoding="utf-8"
    )
    return Program(kind="script", name="train", path=path, target=str(path), cwd=tmp_path)


@pytest.fixture
def make_job(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> MakeJob:
    """``make_job(seed, behaviour, **job fields)``; children run the fake worker."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("SWEEPER_WORKER", "fake_worker")

    def make(seed: int = 1, behaviour: str = "finish", **fields: object) -> Job:
        fix = Fix(changes={"learning_rate": 0.1})
        job = Job(
            program=program,
            fix=fix,
            seed=seed,
            max_steps=5,
            folder=run_folder(tmp_path, fix, seed, 5),
            environment={"FAKE": behaviour},
        )
        return replace(job, **fields)  # type: ignore[arg-type]

    return make
