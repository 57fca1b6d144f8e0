"""Small sound programs, run in this process under the real seams, with a fault or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sweeper.execution.jobs import write_outcome
from sweeper.faults import all_faults
from sweeper.program import seams
from sweeper.program.session import BudgetReached, NotApplied, Session
from sweeper.telemetry.record import read_record
from sweeper.telemetry.recorder import Recorder
from sweeper.types import Facts, FixValue, Outcome, RunRecord

Program = Callable[[], Any]


def run(
    program: Program,
    folder: Path,
    fault: str = "",
    value: FixValue = True,
    facts: Facts | None = None,
) -> RunRecord:
    """The record of one run."""
    folder.mkdir(parents=True, exist_ok=True)
    session = Session(facts=facts)
    recorder = Recorder(session, folder, traced=True)
    session.observers.append(recorder)
    status = "finished"
    with seams.installed(session):
        try:
            if fault:
                all_faults()[fault].apply(session, value)
            program()
        except (BudgetReached, NotApplied):
            status = session.stop_reason
        session.observing = True
        recorder.program_ended()
    assert not session.watch_errors, session.watch_errors[0]
    outcome = Outcome(
        status=status,  # type: ignore[arg-type]
        steps=session.step, applied=session.applied, refused=session.refused,
    )  # fmt: skip
    write_outcome(folder, outcome)
    return read_record(folder)


def blobs(n: int = 192, features: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Separable classes."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(n) % classes
    centres = torch.randn(classes, features, generator=generator) * 3
    return centres[y] + torch.randn(n, features, generator=generator), y


def classifier(passes: int = 2) -> nn.Module:
    """Loader, batch normalisation, dropout, rectifiers, Adam, clip, and a rate that warms up."""
    torch.manual_seed(0)
    x, y = blobs()
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    model = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 12),
        nn.ReLU(), nn.Linear(12, 3),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
    for _ in range(passes):
        model.train()
        for xb, yb in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(xb), yb).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            warm.step()
        model.eval()
        with torch.no_grad():
            (model(x).argmax(1) == y).float().mean()
    return model


def binary() -> None:
    torch.manual_seed(0)
    x, y = blobs(96, classes=2)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(24):
        rows = torch.arange(step * 8, step * 8 + 8) % 96
        optimizer.zero_grad()
        out = model(x[rows]).squeeze(1)
        nn.functional.binary_cross_entropy_with_logits(out, y[rows].float()).backward()
        optimizer.step()


def regression() -> None:
    torch.manual_seed(0)
    x, _ = blobs(96)
    target = x[:, :1] * 2 + 1
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for step in range(24):
        rows = torch.arange(step * 8, step * 8 + 8) % 96
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[rows]), target[rows]).backward()
        optimizer.step()


class Tagger(nn.Module):
    """The mean of embedded ids, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(torch.relu(self.embedding(ids)).mean(1))
        return out


def tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 20, (96, 5), generator=generator)
    y = ids[:, 0] % 3
    torch.manual_seed(0)
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(24):
        rows = torch.arange(step * 8, step * 8 + 8) % 96
        model.zero_grad()
        nn.functional.cross_entropy(model(ids[rows]), y[rows]).backward()
        optimizer.step()
