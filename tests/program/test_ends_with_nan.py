"""A program that its own NaN ends is a failing run with causes, not a broken program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeper.baseline import diagnosed, run_baseline
from sweeper.diagnosis import diagnose
from sweeper.execution.jobs import run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.program.target import parse_program
from sweeper.telemetry.record import read_captured
from sweeper.types import Cause, Fix, Job, ProgramCrashed, Symptom
from tests.conftest import Runner

PROGRAM = """
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 8)
y = (x[:, 0] > 0).float()
{data}
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range(24):
    rows = slice(step % 8 * 32, step % 8 * 32 + 32)
    loss = nn.functional.binary_cross_entropy({answer}, y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def program(folder: Path, *, data: str = "", answer: str = "net(x[rows])[:, 0]") -> Path:
    path = folder / "train.py"
    path.write_text(PROGRAM.format(data=data, answer=answer))
    return path


@pytest.mark.parametrize("row", [0, 17, 250])
def test_the_batch_that_ended_it_is_looked_at(run: Runner, tmp_path: Path, row: int) -> None:
    """Also when it is the first, before any step."""
    made = run(program(tmp_path, data=f"x[{row}, 3] = float('nan')"))
    assert made.outcome.status == "program_error"
    assert made.outcome.steps == row // 32
    assert np.isnan(made.record.series("loss")[-1])
    found = diagnose(made.record, read_captured(made.folder))
    assert [f.symptom for f in found.findings if f.critical] == [Symptom.NON_FINITE]
    assert found.hypotheses[0].cause is Cause.NON_FINITE_DATA
    assert "1 of" in found.hypotheses[0].reason or "3.1%" in found.hypotheses[0].reason


def test_another_error_is_none_of_it(run: Runner, tmp_path: Path) -> None:
    made = run(program(tmp_path, answer="net(x[rows])[:, 0] + 2 * (step == 12)"))
    assert made.outcome.status == "program_error"
    assert len(made.record.series("loss")) == made.outcome.steps == 12
    assert Symptom.NON_FINITE not in [f.symptom for f in diagnose(made.record).findings]


def test_the_baseline_is_diagnosed(supervisor: Supervisor, tmp_path: Path) -> None:
    broken = parse_program([str(program(tmp_path, data="x[100, 3] = float('nan')"))])
    baseline = run_baseline(broken, tmp_path / "study", supervisor.run)
    assert baseline.diagnosis.failing
    assert baseline.diagnosis.hypotheses[0].cause is Cause.NON_FINITE_DATA
    (tmp_path / "other").mkdir()
    answer = "net(x[rows])[:, 0] + 2 * (step == 12)"
    other = parse_program([str(program(tmp_path / "other", answer=answer))])
    job = Job(program=other, fix=Fix(), seed=0, folder=run_folder(tmp_path, Fix(), 0, None))
    with pytest.raises(ProgramCrashed, match="between 0 and 1"):
        diagnosed(job, supervisor.run(job))
