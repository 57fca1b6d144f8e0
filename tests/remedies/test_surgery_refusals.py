"""Surgery that the program's own passes do not survive is taken back and refused, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from sweeper.types import Facts, FixValue
from tests.remedies.harness import Run, blobs, facts_of, mlp, train, under


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)


class Picky(nn.Module):
    """Looks at its parts while it runs."""

    def __init__(self, demand: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.a, self.act, self.out = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
        self.norm, self.demand = nn.BatchNorm1d(6, momentum=0.5), demand

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.act(self.a(x)))
        if not self.demand(self):
            raise RuntimeError("not what was built")
        return self.out(x)


def plain_layer(model: nn.Module) -> bool:
    return len(list(model.a.parameters())) == 2


def relu(model: nn.Module) -> bool:
    return type(model.act) is nn.ReLU


def picky(demand: Callable[[nn.Module], bool], folder: Path) -> tuple[Picky, Facts]:
    model = Picky(demand)
    return Picky(demand), facts_of(lambda: train(model, sgd(model), steps=2), folder)


@pytest.mark.parametrize(
    ("demand", "fix", "blamed"),
    [
        (relu, {"activation": "gelu"}, "activation"),
        (relu, {"activation": "gelu", "init": "xavier", "residual": True}, "activation"),
        (plain_layer, {"normalisation": "batch"}, "normalisation"),
        (
            plain_layer,
            {"init": "xavier", "normalisation": "layer", "residual": True},
            "normalisation",
        ),
    ],
)
def test_the_surgery_that_breaks_the_forward_is_named(
    demand: Callable[[nn.Module], bool],
    fix: dict[str, FixValue],
    blamed: str,
    tmp_path: Path,
) -> None:
    model, facts = picky(demand, tmp_path)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with under(fix, facts) as run:
        train(model, sgd(model))
    assert run.status == "not_applied"
    assert list(run.session.refused) == [blamed]
    assert "forward" in run.session.refused[blamed]
    assert "RuntimeError: not what was built" in run.session.refused[blamed]
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_forward_that_never_runs_is_the_programs_own_matter(tmp_path: Path) -> None:
    model, facts = picky(relu, tmp_path)
    model.demand = lambda m: False
    with pytest.raises(RuntimeError, match="not what was built"), under({"init": "xavier"}, facts):
        train(model, sgd(model))


def test_a_validation_that_comes_first_is_tried_too(tmp_path: Path) -> None:
    model, facts = picky(relu, tmp_path)
    with under({"activation": "tanh"}, facts) as run:
        optimizer = sgd(model)
        with torch.no_grad():
            model.eval()(blobs()[0])
        train(model.train(), optimizer)
    assert "activation" in run.session.refused


def test_parts_that_the_program_calls_by_themselves_are_tried(tmp_path: Path) -> None:
    def program(model: Picky) -> None:
        head = nn.Linear(3, 3)
        optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
        x, y = blobs()
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(model(x)), y).backward()
            optimizer.step()

    watched, model = Picky(relu), Picky(relu)
    facts = facts_of(lambda: program(watched), tmp_path)
    with under({"activation": "gelu"}, facts) as run:
        program(model)
    assert "forward" in run.session.refused["activation"]


class OwnBackward(torch.autograd.Function):
    """Fails when its input has another precision or is not non-negative."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.negative = bool((x < 0).any())
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        if ctx.negative:
            raise ValueError("negative input")
        return gradient


class Backward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.out = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(OwnBackward.apply(self.act(self.a(x))))


def test_a_backward_that_fails_refuses_what_was_done(tmp_path: Path) -> None:
    watched, model = Backward(), Backward()
    facts = facts_of(lambda: train(watched, sgd(watched), steps=2), tmp_path)
    with under({"activation": "tanh", "dropout": 0.1}, facts) as run:
        train(model, sgd(model))
    assert run.status == "not_applied"  # there is no dropout, and that is said first
    with under({"activation": "tanh"}, facts) as run:
        train(model, sgd(model))
    assert "backward" in run.session.refused["activation"]
    assert "ValueError: negative input" in run.session.refused["activation"]
    assert type(model.act) is nn.ReLU


def fails_later(model: nn.Module, folder: Path) -> tuple[Run, str]:
    """A program with an average of its own, by name, which meets names that it does not know."""
    watched = mlp(6, 8, 3)
    facts = facts_of(lambda: train(watched, sgd(watched), steps=4), folder)
    average = {n: p.detach().clone() for n, p in model.named_parameters()}

    def update(step: int) -> None:
        for name, parameter in model.named_parameters():
            average[name].lerp_(parameter.detach(), 0.1)

    error = ""
    with under({"normalisation": "batch"}, facts) as run:
        try:
            train(model, sgd(model), after=update)
        except KeyError as caught:
            run.session.seam_error(caught)  # as the worker does
            error = str(caught)
    return run, error


def test_what_fails_later_is_told_with_its_step(tmp_path: Path) -> None:
    run, error = fails_later(mlp(6, 8, 3), tmp_path)
    assert "sweeper_norm" in error
    reason = run.session.refused["normalisation"]
    assert "step 1" in reason and "KeyError" in reason


def test_what_no_step_calls_is_refused_at_the_first(tmp_path: Path) -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.out, self.on = nn.Linear(6, 6), nn.Linear(6, 3), True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.a(x) if self.on else nn.functional.linear(x, self.a.weight, self.a.bias)
            return self.out(torch.relu(hidden))

    watched, model = Unused(), Unused()
    facts = facts_of(lambda: train(watched, sgd(watched), steps=2), tmp_path)
    model.on = False
    with under({"normalisation": "batch"}, facts) as run:
        train(model, sgd(model))
    assert run.session.step == 0 and "none of the changed places" in str(run.session.refused)
    assert not hasattr(model.a, "sweeper_norm")


@pytest.mark.parametrize(
    "fix",
    [{"activation": "gelu"}, {"normalisation": "layer"}, {"residual": True}, {"init": "xavier"}],
    ids=str,
)
def test_frozen_parts_stay_as_they_are(fix: dict[str, FixValue], tmp_path: Path) -> None:
    def make() -> nn.Sequential:
        torch.manual_seed(2)
        model = nn.Sequential(mlp(6, 6, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 6), nn.Tanh()))
        model.append(nn.Linear(6, 3))
        model[0].requires_grad_(False)
        return model

    watched, model = make(), make()
    facts = facts_of(lambda: train(watched, sgd(watched), steps=2), tmp_path)
    with under(fix, facts) as run:
        train(model, sgd(model))
    assert run.applied, (run.effects(), run.session.refused)
    frozen, plain = model[0], make()[0]
    assert str(frozen) == str(plain)
    x = torch.randn(4, 6)
    assert torch.equal(frozen(x), plain(x))
    model[1].requires_grad_(False)
    with under(fix, facts) as run:
        train(model, sgd(model))
    if "init" not in fix:  # which still has the head
        assert "frozen" in str(run.session.refused)
