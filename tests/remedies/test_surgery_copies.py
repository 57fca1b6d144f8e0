"""Copies of a model, saved models and checkpoints: what programs do with a model under surgery."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sweeper.types import Facts, FixValue
from tests.remedies.harness import blobs, facts_of, mlp, restored, stored, train, under

STRUCTURAL: list[dict[str, FixValue]] = [
    {"activation": "gelu"},
    {"normalisation": "batch"},
    {"normalisation": "layer"},
    {"residual": True},
]
each = pytest.mark.parametrize("fix", STRUCTURAL, ids=str)


class Net(nn.Module):
    """A module activation, a called one and a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.norm = nn.Linear(6, 6), nn.ReLU(), nn.BatchNorm1d(6)
        self.b, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.act(self.a(x)))
        return self.out(torch.relu(self.b(x)))


def sgd(model: nn.Module, rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=rate)


def known(folder: Path) -> Facts:
    model = Net()
    return facts_of(lambda: train(model, sgd(model), steps=2), folder)


def evaluated(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(blobs()[0])


def test_watched_models_can_be_copied_and_saved(tmp_path: Path) -> None:
    """The watcher's own hooks stay behind, also while activations are sampled."""
    model, kept = Net(), []

    def after(step: int) -> None:
        kept.append((copy.deepcopy(model), stored(model)))

    facts_of(lambda: train(model, sgd(model), steps=3, after=after), tmp_path)
    for duplicate, saved in kept:
        assert evaluated(duplicate).shape == (64, 3)
        assert b"sweeper" not in saved


@each
def test_an_average_made_before_the_surgery_keeps_up(
    fix: dict[str, FixValue], tmp_path: Path
) -> None:
    facts, model = known(tmp_path), Net()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.0), use_buffers=True)
    target = copy.deepcopy(model).requires_grad_(False)
    with under(fix, facts) as run:
        train(model, sgd(model), after=lambda step: average.update_parameters(model))
        target.load_state_dict(model.state_dict())
        assert run.applied, (run.effects(), run.session.refused)
        wanted = evaluated(model)
        assert torch.equal(evaluated(average.module), wanted)
        assert torch.equal(evaluated(target), wanted)
    assert not any(p.requires_grad for p in target.parameters())
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in target.named_parameters()]


@each
def test_copies_made_later_compute_the_same(fix: dict[str, FixValue], tmp_path: Path) -> None:
    """The best weights so far: kept as a copy, as a file, and in a model that is built anew."""
    facts, model, kept = known(tmp_path), Net(), []
    with under(fix, facts) as run:
        train(model, sgd(model), after=lambda step: kept.append(copy.deepcopy(model)))
        assert run.applied
        state = io.BytesIO()
        torch.save(model.state_dict(), state)
        state.seek(0)
        again = Net()
        again.load_state_dict(torch.load(state, weights_only=True), strict=True)
        wanted = evaluated(model)
        for other in (kept[-1], again, restored(stored(model))):
            assert torch.equal(evaluated(other), wanted)


def test_a_network_of_its_own_joins_at_its_first_update(tmp_path: Path) -> None:
    facts = known(tmp_path)
    for fix in ({"activation": "tanh"}, {"normalisation": "none"}):
        model, target, teacher = Net(), Net(), Net()
        before = evaluated(teacher)
        with under(fix, facts) as run:
            train(model, sgd(model))
            target.load_state_dict(model.state_dict())
            teacher.load_state_dict(teacher.state_dict())
            assert run.applied and torch.equal(evaluated(target), evaluated(model))
            assert torch.equal(evaluated(teacher), before)


@pytest.mark.parametrize("fix", [{"activation": "gelu"}, {"dropout": 0.1}], ids=str)
def test_saved_models_load_without_sweeper(fix: dict[str, FixValue], tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    with under(fix) as run:
        train(model, sgd(model))
    assert run.applied
    torch.save(model, tmp_path / "model.pt")
    code = (
        "import sys, torch; sys.modules['sweeper'] = None;"
        f"m = torch.load({str(tmp_path / 'model.pt')!r}, weights_only=False);"
        "print(type(m[1]).__name__, m[2].p, m.eval()(torch.zeros(1, 6)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kind = "GELU" if "activation" in fix else "ReLU"
    assert done.stdout.startswith(f"{kind} {fix.get('dropout', 0.5)}")


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.SGD])
def test_a_run_that_is_resumed_goes_on_where_it_stopped(make: Any, tmp_path: Path) -> None:
    """A checkpoint of a run under a fix holds more than the program's own model and optimizer."""
    facts = known(tmp_path)
    options = {"lr": 0.05, **({"momentum": 0.9} if make is torch.optim.SGD else {})}

    def begin() -> tuple[Net, torch.optim.Optimizer]:
        torch.manual_seed(4)
        model = Net()
        return model, make(model.parameters(), **options)

    with under({"normalisation": "layer"}, facts) as whole:
        model, optimizer = begin()
        losses = train(model, optimizer, steps=6)
    assert whole.applied

    with under({"normalisation": "layer"}, facts):
        model, optimizer = begin()
        train(model, optimizer, steps=3)
        checkpoint = copy.deepcopy({"m": model.state_dict(), "o": optimizer.state_dict()})
    with under({"normalisation": "layer"}, facts) as resumed:
        model, optimizer = begin()
        model.load_state_dict(checkpoint["m"], strict=True)
        optimizer.load_state_dict(checkpoint["o"])
        x, y = blobs()
        rest = train(model, optimizer, steps=3, data=(x.roll(-24, 0), y.roll(-24, 0)))
    assert resumed.applied and rest == pytest.approx(losses[3:], rel=1e-6)


def test_a_checkpoint_of_the_plain_program_is_taken_too(tmp_path: Path) -> None:
    facts, model = known(tmp_path), Net()
    plain = copy.deepcopy(model.state_dict())
    with under({"normalisation": "batch"}, facts) as run:
        train(model, sgd(model), steps=2, after=lambda step: model.load_state_dict(plain))
    assert run.applied and torch.equal(model.a.weight, plain["a.weight"])


def test_the_start_of_the_model_is_not_pretrained(tmp_path: Path) -> None:
    model = mlp(6, 8, 3)
    start = copy.deepcopy(model.state_dict())

    def program() -> None:
        model.load_state_dict(start)
        train(model, sgd(model), steps=2)

    assert not facts_of(program, tmp_path).pretrained


def test_a_teacher_that_was_loaded_leaves_the_student_fresh(tmp_path: Path) -> None:
    model, teacher, other = Net(), Net(), Net()

    def program() -> None:
        teacher.load_state_dict(other.state_dict())
        train(model, sgd(model), steps=2)

    facts = facts_of(program, tmp_path)
    assert not facts.pretrained and facts.n_loaded == 0
