from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sweeper.remedies.lr_schedule import KINDS, shape_of
from sweeper.types import Facts, FixValue, OptimizerFact
from tests.remedies.harness import mlp, train, under


def facts(*peak: float) -> Facts:
    return Facts(
        optimizers=(
            OptimizerFact(
                name="SGD", peak_lr=peak, first_lr=0.0, last_lr=0.0, weight_decay=0.0, momentum=0.0,
                n_parameters=1, n_frozen=0, n_without_grad=0, n_missing=0,
            ),
        )
    )  # fmt: skip


def test_the_programs_schedule_keeps_its_shape() -> None:
    own = [0.0, 0.05, 0.1, 0.05, 0.025, 0.0]
    with under({"learning_rate": 1.0}, facts(0.1)) as run:
        model = mlp(6, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=own[0])

        def write(step: int) -> None:  # a loop that writes its rate by itself
            assert optimizer.param_groups[0]["lr"] == own[step]
            optimizer.param_groups[0]["lr"] = own[(step + 1) % 6]

        train(model, optimizer, after=write)
    assert run.probe.lr == pytest.approx([10 * rate for rate in own])
    assert run.applied


def test_a_run_that_ends_in_the_warmup_counts_and_a_wrong_rate_does_not() -> None:
    from sweeper.remedies.learning_rate import effect

    with under({"learning_rate": 1.0}, facts(0.1)) as run:
        model = mlp(6, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

        def warm(step: int) -> None:
            optimizer.param_groups[0]["lr"] += 0.01

        train(model, optimizer, steps=3, after=warm)
    assert run.probe.lr == pytest.approx([0.1, 0.2, 0.3]) and run.applied
    record = dataclasses.replace(run.record, steps={"lr": run.record.steps["lr"][::-1]})
    assert "0.3" in effect(1.0, record)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_schedules(kind: str, warmup: float) -> None:
    shape = [shape_of(kind, warmup)(step, 100) for step in range(101)]
    rising = round(100 * warmup)
    assert all(0 <= s <= 1 for s in shape) and max(shape) == 1.0
    assert shape[:rising] == pytest.approx([(s + 1) / rising for s in range(rising)])
    assert shape[rising:] == sorted(shape[rising:], reverse=True)
    value: FixValue = {"kind": kind, "warmup": warmup}
    with under({"lr_schedule": value}, facts(0.2), planned_steps=12) as run:
        model = mlp(6, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
        train(model, optimizer, steps=12, after=lambda step: scheduler.step())
    wanted = shape_of(kind, warmup)
    assert run.probe.lr == pytest.approx([0.2 * wanted(s, 12) for s in range(12)])
    assert run.applied
    assert optimizer.param_groups[0]["lr"] < 1e-10  # the program sees its own


def test_a_schedule_that_was_not_kept_is_told() -> None:
    from sweeper.remedies.lr_schedule import effect

    with under({"lr_schedule": "cosine"}, facts(0.2), planned_steps=6) as run:
        model = mlp(6, 3)
        train(model, torch.optim.SGD(model.parameters(), lr=0.2))
    run.probe.lr = [0.2] * 6
    assert "promised shape" in effect("cosine", run.record)


def test_rate_and_schedule_together() -> None:
    fix: dict[str, FixValue] = {
        "learning_rate": 0.5,
        "lr_schedule": {"kind": "linear", "warmup": 0.5},
    }
    with under(fix, facts(0.2), planned_steps=6) as run:
        model = mlp(6, 3)
        train(model, torch.optim.SGD(model.parameters(), lr=0.2))
    assert max(run.probe.lr) == 0.5 and run.applied and math.isclose(run.probe.lr[0], 0.5 / 3)
