"""A program that measures nothing but a loss of its own is judged by how far that falls."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sweeper.search.judge import judge
from sweeper.search.own_loss import FALLEN, fall_of
from sweeper.types import Diagnosis, Facts, Fix, OptimizerFact, Outcome, RunRecord
from tests.conftest import Runner

QUIET = Diagnosis(findings=(), hypotheses=())
BY_HAND = """
import sys
import torch
from torch import nn
torch.manual_seed(0)
x = torch.randn(256, 8)
y = x @ torch.randn(8) + 0.1 * torch.randn(256)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=float(sys.argv[1]))
for step in range(300):
    i = torch.randint(0, 256, (32,))
    loss = ((model(x[i]).squeeze(1) - y[i]) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def record(loss: list[float], *, first: float = math.nan, rivals: bool = False) -> RunRecord:
    n = len(loss)
    one = OptimizerFact(
        name="Adam", peak_lr=(1e-3,), first_lr=1e-3, last_lr=1e-3, weight_decay=0.0, momentum=0.0,
        n_parameters=10, n_frozen=0, n_without_grad=0, n_missing=0,
    )  # fmt: skip
    two = (one, one) if rivals else ()
    facts = Facts(
        steps=n, first_loss=first, optimizers=two, n_roots=2 if rivals else 1,
        backwards_per_step=3 if rivals else 1,
    )  # fmt: skip
    series = {"step": np.arange(n, dtype=float), "loss": np.array(loss)}
    return RunRecord(
        folder=None, fix=Fix(), seed=0, max_steps=n, outcome=Outcome(status="finished", steps=n),
        facts=facts, steps=series, layers=None, activations=None, evals=None,
    )  # fmt: skip


def test_a_loss_that_falls_by_a_quarter_shows_learning() -> None:
    falls = np.linspace(1.0, 0.3, 100).tolist()
    judgement = judge(record(falls), QUIET)
    assert judgement.restored and judgement.metric_name == "loss"
    assert judgement.metric == pytest.approx(np.mean(falls[-20:]))
    assert judgement.skill == pytest.approx(1 - np.mean(falls[-20:]) / min(falls[:3]))


@pytest.mark.parametrize(
    ("loss", "first"),
    [
        (np.linspace(1.0, 0.8, 100).tolist(), math.nan),
        ([100.0] * 3 + [0.9] * 97, 1.0),  # it only began far above the unchanged program
        ([1.0, 50.0, 80.0] + [0.95] * 97, math.nan),
    ],
    ids=["little", "worse start", "a spike at the start"],
)
def test_a_loss_that_hardly_fell_does_not(loss: list[float], first: float) -> None:
    judgement = judge(record(loss, first=first), QUIET)
    assert not judgement.restored
    assert f"below its level before training, {FALLEN:.0%} needed" in judgement.reasons[0]
    assert 0 < judgement.violations["learning"] < 1.5


def test_what_no_fall_can_tell() -> None:
    falls = np.linspace(1.0, 0.3, 100).tolist()
    assert not fall_of(record(falls, rivals=True)).known
    assert not fall_of(record(falls[:5])).known
    assert not fall_of(record((-np.array(falls)).tolist())).known
    reasons = judge(record(falls, rivals=True), QUIET).reasons
    assert reasons == ("no skill measured: no labelled samples and no evaluation seen",)


def test_a_squared_error_written_by_hand(run: Runner, tmp_path: Path) -> None:
    path = tmp_path / "by_hand.py"
    path.write_text(BY_HAND)
    broken = run(path, argv=("30",)).record
    assert not judge(broken, QUIET).restored
    assert 0 < broken.facts.first_loss < 100
    fixed = run(path, {"learning_rate": 0.02}, facts=broken.facts, argv=("30",)).record
    assert fixed.facts.first_loss == broken.facts.first_loss
    judgement = judge(fixed, QUIET)
    assert judgement.restored and judgement.skill > 0.8
