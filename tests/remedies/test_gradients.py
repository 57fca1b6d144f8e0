"""clip_norm, weight_decay and zero_grad."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sweeper.remedies.clip_norm import total_norm, validate
from sweeper.types import FixValue
from tests.remedies.harness import mlp, train, under


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_clips_as_torch_does(norm_type: float) -> None:
    model, twin = mlp(6, 8, 3), mlp(6, 8, 3)
    twin.load_state_dict(model.state_dict())
    theirs = torch.optim.SGD(twin.parameters(), lr=0.5)
    step = theirs.step

    def clipped() -> None:
        nn.utils.clip_grad_norm_(twin.parameters(), 0.1, norm_type)
        step()

    theirs.step = clipped  # type: ignore[method-assign,assignment]
    train(twin, theirs)
    value = validate({"max_norm": 0.1, "norm_type": norm_type})
    with under({"clip_norm": value}) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.5))
    assert run.applied and run.session.applied["clip_norm"]["clipped_steps"] == 6
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_replaces_the_programs_own_clip() -> None:
    model = mlp(6, 8, 3)
    before = [p.detach().clone() for p in model.parameters()]
    with under({"clip_norm": 1e6}) as run:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(8, 6), torch.arange(8) % 3
        nn.functional.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-9)
        optimizer.step()
    assert run.probe.clipped_norm[0] > 1e-3
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_clip_that_does_not_hold_is_told() -> None:
    with under({"clip_norm": 0.1}) as run:
        model = mlp(6, 8, 3)
        train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    run.probe.clipped_norm[3] = 0.4
    assert "0.4" in run.effects()["clip_norm"]


def test_norms_of_sparse_and_mixed_gradients() -> None:
    dense = torch.tensor([3.0, 4.0])
    sparse = torch.sparse_coo_tensor([[1, 1]], [6.0, 6.0], (3,), check_invariants=True)
    assert float(total_norm([dense, sparse], 2.0)) == pytest.approx(13.0)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_weight_decay_is_in_force_and_restored(value: float) -> None:
    with under({"weight_decay": value}) as run:
        model = mlp(6, 8, 3)
        groups = [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.01)
        train(model, optimizer)
    assert run.applied
    assert run.session.applied["weight_decay"]["values"] == sorted({0.0, value})
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0]


def test_zero_grad_equals_a_program_that_clears() -> None:
    model, twin = mlp(6, 8, 3), mlp(6, 8, 3)
    twin.load_state_dict(model.state_dict())
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
    fix: dict[str, FixValue] = {"zero_grad": True}
    with under(fix) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), zero=False)
    assert run.applied
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
