"""A tiny training program under the real seams, in this process."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sweeper.program import seams
from sweeper.program.functions import changing
from sweeper.program.observer import Observer
from sweeper.program.session import BudgetReached, NotApplied, Session
from sweeper.remedies import all_remedies, validate_fix
from sweeper.telemetry.recorder import Recorder
from sweeper.types import Facts, Fix, FixValue, Outcome, RunRecord


class Probe(Observer):
    """Writes down, before each step, the rate, the global norm and the samples since the last
    step."""

    def __init__(self) -> None:
        self.lr: list[float] = []
        self.clipped_norm: list[float] = []
        self.n: list[float] = []
        self.rows = 0

    def loss_computed(self, call: Any, value: torch.Tensor) -> None:
        if torch.is_grad_enabled():
            self.rows += len(call.input)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        grads = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        self.lr.append(float(optimizer.param_groups[0]["lr"]))
        total = sum(float(g.double().square().sum()) for g in grads) ** 0.5 if grads else np.nan
        self.clipped_norm.append(total)
        self.n.append(float(self.rows))
        self.rows = 0


@dataclass
class Run:
    """A session with what its probe saw."""

    session: Session
    fix: Fix
    probe: Probe = field(default_factory=Probe)
    status: str = "finished"

    @property
    def record(self) -> RunRecord:
        steps = {
            "step": np.arange(len(self.probe.lr), dtype=float),
            "lr": np.array(self.probe.lr, dtype=float),
            "clipped_norm": np.array(self.probe.clipped_norm, dtype=float),
            "n": np.array(self.probe.n, dtype=float),
        }
        outcome = Outcome(
            status=self.status,  # type: ignore[arg-type]
            steps=self.session.step,
            applied=self.session.applied,
            refused=self.session.refused,
        )
        return RunRecord(
            folder=None, fix=self.fix, seed=0, max_steps=None, outcome=outcome,
            facts=self.session.facts or Facts(), steps=steps, layers=None, activations=None,
            evals=None,
        )  # fmt: skip

    def effects(self) -> dict[str, str]:
        """Remedy -> why it had no effect; empty text when it had."""
        known = all_remedies()
        return {n: known[n].effect(v, self.record) for n, v in self.fix.changes.items()}

    @property
    def applied(self) -> bool:
        return self.status != "not_applied" and not any(self.effects().values())


@contextmanager
def under(
    changes: dict[str, FixValue], facts: Facts | None = None, **options: Any
) -> Iterator[Run]:
    """Run the block as the program, under a fix."""
    run = Run(Session(facts=facts, **options), validate_fix(changes, "test"))
    session = run.session
    session.observers.append(run.probe)
    with seams.installed(session):
        try:
            for name, value in run.fix.changes.items():
                all_remedies()[name].apply(session, value)
        except NotApplied:
            run.status = session.stop_reason
        try:
            with changing(session.functions, lambda: session.roots):
                yield run
        except (BudgetReached, NotApplied):
            run.status = session.stop_reason


def facts_of(program: Callable[[], Any], folder: Path) -> Facts:
    """What the recorder says about a program that runs unchanged."""
    session = Session()
    recorder = Recorder(session, folder)
    session.observers.append(recorder)
    with seams.installed(session):
        program()
        recorder.program_ended()
    return Facts.from_dict(json.loads((folder / "facts.json").read_text()))


def stored(model: nn.Module) -> bytes:
    """The model on file: a copy that lived would be operated on like an average of its weights."""
    file = io.BytesIO()
    torch.save(model, file)
    return file.getvalue()


def restored(data: bytes) -> nn.Module:
    """A model that was `stored`."""
    model: nn.Module = torch.load(io.BytesIO(data), weights_only=False)
    return model


def blobs(n: int = 64, features: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Separable classes."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(n) % classes
    centres = torch.randn(classes, features, generator=generator) * 3
    return centres[y] + torch.randn(n, features, generator=generator), y


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int = 6,
    batch: int = 8,
    data: tuple[torch.Tensor, torch.Tensor] | None = None,
    loss: Callable[..., torch.Tensor] | None = None,
    zero: bool = True,
    after: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """An ordinary loop over hand-sliced tensors; the losses."""
    x, y = data or blobs()
    criterion = loss or nn.CrossEntropyLoss()
    losses = []
    for step in range(steps):
        rows = torch.arange(step * batch, (step + 1) * batch) % len(x)
        if zero:
            optimizer.zero_grad()
        value = criterion(model(x[rows]), y[rows])
        value.backward()
        optimizer.step()
        losses.append(value.item())
        after(step)
    return losses


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])
