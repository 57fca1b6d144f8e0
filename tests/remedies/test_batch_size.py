from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from sweeper.remedies import all_remedies
from sweeper.types import Facts, LoaderFact, OptimizerFact
from tests.remedies.harness import blobs, mlp, train, under

SGD = OptimizerFact(
    name="SGD", peak_lr=(0.1,), first_lr=0.1, last_lr=0.1, weight_decay=0.0, momentum=0.0,
    n_parameters=1, n_frozen=0, n_without_grad=0, n_missing=0,
)  # fmt: skip
SLICED = Facts(batch_size=8, optimizers=(SGD,))
LOADED = Facts(
    batch_size=2, optimizers=(SGD,),
    loaders=(
        LoaderFact(index=0, batch_size=2, n_samples=64, n_batches=32, trained=True),
        LoaderFact(index=1, batch_size=2, n_samples=64, n_batches=32, trained=False),
    ),
)  # fmt: skip


def loop(loader: DataLoader[tuple[torch.Tensor, ...]]) -> None:
    model = mlp(6, 8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def test_only_the_training_loader_changes() -> None:
    data = TensorDataset(*blobs())
    with under({"batch_size": 16}, LOADED) as run:
        loader = DataLoader(data, 2, shuffle=True, drop_last=True)
        other = DataLoader(data, batch_size=2)
        loop(loader)
    assert (loader.batch_size, other.batch_size, loader.drop_last) == (16, 2, True)
    assert run.probe.n == [16.0] * 4 and run.applied


def test_a_size_that_was_not_seen_is_told() -> None:
    data = TensorDataset(*blobs())
    with under({"batch_size": 16}, LOADED) as run:
        DataLoader(data, batch_size=2)
        loop(DataLoader(data, batch_size=2))
    assert run.effects()["batch_size"] == "2 samples per step were seen, not 16"


@pytest.mark.parametrize("how", ["zero_grad", "none", "module"])
def test_accumulation_equals_a_larger_batch(how: str) -> None:
    """Whether the program clears through the optimizer, the model, or by hand."""
    model, twin = mlp(6, 8, 3), mlp(6, 8, 3)
    twin.load_state_dict(model.state_dict())
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9), steps=4, batch=16)

    def clear(step: int) -> None:
        if how == "module":
            model.zero_grad()
        else:
            for p in model.parameters():
                p.grad = None

    with under({"batch_size": 16}, SLICED) as run:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 100)

        def after(step: int) -> None:
            scheduler.step()
            if how != "zero_grad":
                clear(step)

        train(model, optimizer, steps=8, batch=8, zero=how == "zero_grad", after=after)
    assert run.session.step == 4 and run.probe.n == [16.0] * 4 and run.applied
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_accumulation_and_another_optimizer_together() -> None:
    with under({"batch_size": 32, "optimizer": "adam"}, SLICED) as run:
        model = mlp(6, 8, 3)
        train(model, torch.optim.SGD(model.parameters(), lr=0.01), steps=8)
    assert run.session.step == 2 and run.applied


def test_what_cannot_be_accumulated_is_refused() -> None:
    with under({"batch_size": 12}, SLICED) as run:
        pass
    assert "multiples of its 8" in run.session.refused["batch_size"]
    remedy = all_remedies()["batch_size"]
    assert "slices tensors itself" in remedy.refusal(Facts(optimizers=(SGD,)))
    assert "closure" in remedy.refusal(Facts(optimizers=(SGD,), batch_size=8, with_closure=True))
    assert remedy.space(SLICED)["batch_size"].choices == (16, 32, 64, 128)
