"""Steps that compute their gradients themselves, ``optimizer.step(closure)``, or hold another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sweeper.program import seams
from sweeper.program.session import Session
from sweeper.telemetry.record import _collect
from sweeper.telemetry.recorder import Recorder
from tests.remedies.harness import blobs, mlp, under

X, Y = blobs()
Program = Callable[[type[torch.optim.Optimizer]], list[float]]


def train(
    kind: type[torch.optim.Optimizer], *, closure: bool = True, **options: Any
) -> list[float]:
    """Eight steps of 16 rows with the program's own clip; the losses it saw."""
    torch.manual_seed(0)
    model = mlp(6, 8, 3)
    optimizer = kind(model.parameters(), **{"lr": 0.1, **options})
    losses: list[float] = []
    for step in range(8):
        rows = torch.arange(step * 16, (step + 1) * 16) % len(X)
        seen: list[float] = []

        def evaluate(rows: torch.Tensor = rows, seen: list[float] = seen) -> torch.Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(X[rows]), Y[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            seen.append(loss.item())
            return loss

        if closure:
            optimizer.step(evaluate)
        else:
            evaluate()
            optimizer.step()
        losses.append(seen[0])
    return losses


def signals(folder: Path, program: Callable[[], Any]) -> dict[str, Any]:
    folder.mkdir()
    session = Session()
    recorder = Recorder(session, folder)
    session.observers.append(recorder)
    with seams.installed(session):
        program()
        recorder.program_ended()
    assert not session.watch_errors, session.watch_errors[0]
    return _collect(folder / "signals.jsonl")[0]  # type: ignore[return-value]


def test_a_closure_gives_the_signals_of_the_plain_loop(tmp_path: Path) -> None:
    plain = signals(tmp_path / "plain", lambda: train(torch.optim.SGD, closure=False))
    inside = signals(tmp_path / "closure", lambda: train(torch.optim.SGD))
    assert len(plain["loss"]) == 8
    for key, series in plain.items():
        np.testing.assert_array_equal(series, inside[key], err_msg=key)


def test_further_evaluations_of_a_step_do_not_count(tmp_path: Path) -> None:
    losses: list[float] = []
    seen = signals(tmp_path / "lbfgs", lambda: losses.extend(train(torch.optim.LBFGS, max_iter=4)))
    np.testing.assert_allclose(seen["loss"], losses, rtol=1e-6)
    assert set(seen["n"]) == {16.0}
    assert (seen["grad_norm"] > 0.5).any() and (seen["clipped_norm"] <= 0.5 + 1e-5).all()


def test_a_fix_holds_at_every_evaluation_and_the_groups_keep_the_programs_values() -> None:
    model = mlp(6, 8, 3)
    with under({"clip_norm": 1e-3, "learning_rate": 0.5}) as run:
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
        own: list[float] = []

        def evaluate() -> torch.Tensor:
            own.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(X), Y)
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(evaluate)
    assert run.session.step == 3
    assert set(own) == {0.1} and optimizer.param_groups[0]["lr"] == 0.1
    assert run.probe.lr == [0.5] * 3
    assert max(run.probe.clipped_norm) <= 1.01e-3
    assert run.session.applied["clip_norm"]["steps"] == len(own) > 3
    assert not any(run.effects().values())


def test_a_step_that_raised_does_not_hide_the_next() -> None:
    class Fragile(torch.optim.SGD):
        fails = 1

        def step(self, closure: Any = None) -> Any:
            result = super().step(closure)
            if self.fails:
                self.fails -= 1
                raise RuntimeError("lost connection")
            return result

    torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)  # the parent's step is hooked from here
    with under({}) as run:
        model = mlp(6, 8, 3)
        optimizer = Fragile(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(X).square().mean().backward()
            with contextlib.suppress(RuntimeError):
                optimizer.step()
    assert run.session.step == 2
    assert len(run.probe.lr) == 3


def test_closure_by_name_and_other_arguments_reach_the_optimizer() -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure: Any = None, extra: int = 0) -> Any:
            self.extra = extra
            return super().step(closure)

    with under({}) as run:
        model = mlp(6, 8, 3)
        optimizer = Odd(model.parameters(), lr=0.1)

        def evaluate() -> torch.Tensor:
            optimizer.zero_grad()
            loss: torch.Tensor = model(X).square().mean()
            loss.backward()
            return loss

        value = optimizer.step(closure=evaluate, extra=3)
    assert optimizer.extra == 3 and value.item() > 0
    assert run.session.step == 1
