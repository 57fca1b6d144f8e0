"""The seams in this process, where what a step sees can be looked at."""

from __future__ import annotations

import copy
import importlib
import sys

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sweeper.program import seams
from sweeper.program.graph import ModuleStack, TraceMode, enter_below, leave
from sweeper.program.models import rate_of
from sweeper.types import Facts, OptimizerFact
from tests.remedies.harness import blobs, mlp, train, under


def fact(peak: float, name: str = "SGD", steps: int = 6) -> OptimizerFact:
    return OptimizerFact(
        name=name, peak_lr=(peak,), first_lr=peak, last_lr=peak, weight_decay=0.0, momentum=0.0,
        n_parameters=1, n_frozen=0, n_without_grad=0, n_missing=0, steps=steps,
    )  # fmt: skip


def test_optimizers_side_by_side_keep_the_proportion_of_their_rates() -> None:
    facts = Facts(optimizers=(fact(0.1), fact(0.4)), steps=6)
    seen: dict[int, set[float]] = {}
    with under({"learning_rate": 0.01}, facts) as run:
        model, other = mlp(6, 3), mlp(6, 3)
        first = torch.optim.SGD(model.parameters(), lr=0.1)
        second = torch.optim.SGD(other.parameters(), lr=0.4)
        run.session.before_step(
            lambda o: seen.setdefault(id(o), set()).add(o.param_groups[0]["lr"])
        )
        x, y = blobs()
        for _ in range(6):
            for net, optimizer in ((model, first), (other, second)):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                optimizer.step()
    assert seen[id(first)] == {0.01} and seen[id(second)] == {0.01 * 4}


def test_an_optimizer_without_a_rate_keeps_having_none() -> None:
    class Relative(torch.optim.SGD):
        def step(self, closure=None):  # type: ignore[no-untyped-def]
            rates = [group["lr"] for group in self.param_groups]
            for group in self.param_groups:
                group["lr"] = 0.01
            super().step(closure)
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate

    model = mlp(6, 3)
    with under({"lr_schedule": "cosine"}):
        optimizer = Relative(model.parameters(), lr=0.1)
        optimizer.param_groups[0]["lr"] = None
        train(model, optimizer)
    assert optimizer.param_groups[0]["lr"] is None
    assert rate_of({}) != rate_of({})  # NaN


def test_two_optimizers_gather_gradients_apart() -> None:
    """A GAN's two optimizers under accumulation: as if every batch were twice as large."""
    facts = Facts(batch_size=8, optimizers=(fact(0.1), fact(0.1)), steps=8)
    models = [mlp(6, 8, 3), mlp(6, 8, 3)]
    twins = copy.deepcopy(models)
    x, y = blobs()

    def loop(nets: list[nn.Sequential], batch: int, steps: int) -> None:
        optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in nets]
        for step in range(steps):
            rows = torch.arange(step * batch, (step + 1) * batch) % len(x)
            for net, optimizer in zip(nets, optimizers, strict=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimizer.step()

    loop(twins, 16, 4)
    with under({"batch_size": 16}, facts) as run:
        loop(models, 8, 8)
    assert run.session.step == 4
    for model, twin in zip(models, twins, strict=True):
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_clipping_takes_gradients_of_double_precision() -> None:
    x, y = blobs()
    model = mlp(6, 3).double()
    with under({"clip_norm": 1e-3}) as run:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train(model, optimizer, data=(x.double(), y))
    assert run.applied and max(run.probe.clipped_norm) <= 1.001e-3


def test_a_call_that_the_program_put_around_ours_stays() -> None:
    plain = nn.Module.__call__
    calls = 0

    def counting(self: nn.Module, *args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        return inner(self, *args, **kwargs)

    try:
        with under({}) as run:
            inner = nn.Module.__call__
            nn.Module.__call__ = counting  # type: ignore[method-assign, assignment]
            model = mlp(6, 3)
            train(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=3)
            assert run.session.roots == [model]
            assert nn.Module.__call__ is counting
    finally:
        nn.Module.__call__ = plain  # type: ignore[method-assign]
    assert calls >= 6


class Foreign(TorchFunctionMode):
    """A mode of the program's own."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return func(*args, **(kwargs or {}))


def test_our_modes_stay_below_those_of_the_program() -> None:
    """The program's mode leaves by popping the topmost: that must be its own."""
    depth = torch._C._len_torch_function_stack()
    trace = TraceMode(ModuleStack(), {}, torch.is_grad_enabled)
    torch.set_default_device("cpu")
    try:
        with torch.device("cpu"), Foreign():
            enter_below(trace)
        torch.ones(2, requires_grad=True) * 2
    finally:
        torch.set_default_device(None)
    assert [node.operation for node in trace.nodes][-1] == "mul"
    leave(trace)
    assert torch._C._len_torch_function_stack() == depth


def test_names_of_loose_parameters_are_the_programs() -> None:
    scale = torch.ones((), requires_grad=True)
    tables = {"words": torch.randn(4, 2, requires_grad=True)}
    pair = [torch.randn(2, 3, requires_grad=True)]
    with under({}) as run:
        optimizer = torch.optim.SGD([scale, tables["words"], *pair], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (tables["words"] @ pair[0] * scale).square().mean().backward()
            optimizer.step()
    (root,) = run.session.roots
    assert [name for name, _ in root.named_children()] == ["scale", "words", "pair[0]"]
    assert {id(p) for p in root.parameters()} == {id(scale), id(tables["words"]), id(pair[0])}


def test_a_process_group_of_one_needs_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.distributed.is_available():
        pytest.skip("torch was built without distributed")
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with under({}):
        torch.distributed.init_process_group("gloo")
        try:
            assert torch.distributed.get_world_size() == 1
        finally:
            torch.distributed.destroy_process_group()


def test_a_process_group_of_two_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with under({}) as run:
        torch.distributed.init_process_group("gloo")
    assert run.status == "no_optimizer"
    assert "2 processes (torch.distributed)" in run.session.refused["program"]


def test_what_is_imported_after_the_watch_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch made then would be nobody's, and the next watch would take itself for begun."""
    monkeypatch.delitem(sys.modules, "sklearn.metrics", raising=False)
    with under({}):
        pass
    metrics = importlib.import_module("sklearn.metrics")
    assert metrics.accuracy_score.__code__.co_name != "metric"
    assert seams._undo == []
    with under({}):
        assert metrics.accuracy_score.__code__.co_name == "metric"
    assert metrics.accuracy_score.__code__.co_name != "metric"
