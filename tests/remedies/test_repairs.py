"""Repairs of inputs, losses and modes at the seams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sweeper.remedies import all_remedies
from sweeper.remedies._inputs import Clamp, Standardiser
from sweeper.types import Diagnosis, Facts, FixValue
from tests.remedies.harness import blobs, facts_of, mlp, train, under

NOTHING = Diagnosis(findings=(), hypotheses=())


def number(value: torch.Tensor) -> float:
    return value.detach().item()


class Spy(nn.Module):
    """Remembers its last input."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*(inner or (mlp(6, 8, 3),)))
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach().clone())
        return self.inner(x)


def raw() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = blobs()
    return x * torch.tensor([1e5, 1.0, 1e-3, 10.0, 0.0, 1.0]) + 50, y


@pytest.mark.parametrize(
    "fix", [{"standardise_inputs": True}, {"normalisation": {"kind": "batch", "where": "inputs"}}]
)
def test_inputs_are_standardised_from_the_first_batch(fix: dict[str, FixValue]) -> None:
    x, y = raw()
    model = Spy()
    with under(fix) as run:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        train(model, optimizer, steps=8, data=(x, y))
        first = model.seen[0]
        model.eval()
        with torch.no_grad():
            model(x)
    assert run.applied
    moving = [0, 1, 3, 5]
    assert first.mean(0).abs().max() < 0.1
    assert (first.std(0)[moving] - 1).abs().max() < 0.3
    assert model.seen[-1].mean(0).abs().max() < 0.6 and model.seen[-1][:, 4].abs().max() < 1e-3
    twice = model.seen[-1]
    with torch.no_grad():
        assert torch.equal(twice, model.seen[-1])


def test_statistics_equal_those_of_all_rows_and_pass_missing_values() -> None:
    standardise = Standardiser()
    x, _ = raw()
    x[3, 1] = torch.nan
    for rows in x.split(7):
        out = standardise(rows, True)
    whole = torch.where(x.isnan(), torch.zeros(()), x).double()
    count = torch.tensor([64, 63, 64, 64, 64, 64])
    assert torch.allclose(standardise.moments.mean, whole.sum(0) / count)
    assert out.shape == rows.shape and not out.isnan().any()
    assert standardise(x, False)[3, 1].isnan()  # a missing value is not hidden


def test_outputs_of_another_model_are_not_raw_data() -> None:
    encoder, decoder = Spy(nn.Linear(6, 5)), Spy(nn.Linear(5, 3))

    with under({"standardise_inputs": True}) as run:
        optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.01)
        x, y = raw()
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(decoder(encoder(x)), y).backward()
            optimizer.step()
    assert run.applied
    assert torch.equal(decoder.seen[-1], decoder.seen[-1])
    hidden = encoder.inner(encoder.seen[-1])
    assert hidden.shape == decoder.seen[-1].shape
    assert not torch.allclose(decoder.seen[-1].std(0), torch.ones(5), atol=1e-3)


def test_images_by_channel() -> None:
    x = torch.rand(32, 3, 4, 4) * torch.tensor([1.0, 100.0, 10.0])[:, None, None]
    model = Spy(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    with under({"standardise_inputs": True}):
        train(model, torch.optim.SGD(model.parameters(), lr=0.01), data=(x, torch.arange(32) % 3))
    assert (model.seen[0].std((0, 2, 3)) - 1).abs().max() < 0.05


def test_outliers_are_clamped() -> None:
    x, y = blobs()
    x[5, 2] = 1e6
    model = Spy()
    with under({"clamp_outliers": 5.0}) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.01), steps=8, data=(x, y))
    assert run.applied and max(float(s.abs().max()) for s in model.seen) < 200
    rare = torch.zeros(100, 1)
    rare[0] = 9.0
    assert number(Clamp(5.0)(rare, True).max()) == 9.0  # no scale is known: nothing is an outlier


def ends_in(softmax: nn.Module | Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    if isinstance(softmax, nn.Module):
        return nn.Sequential(mlp(6, 8, 3), softmax)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp(6, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return softmax(self.body(x))

    return Model()


@pytest.mark.parametrize(
    "softmax",
    [
        nn.Softmax(dim=1),
        lambda z: torch.softmax(z, 1),
        lambda z: F.softmax(z, dim=-1)[:, None].squeeze(1),
    ],
    ids=["module", "function", "view"],
)
def test_softmax_before_the_loss(softmax: nn.Module, tmp_path: Path) -> None:
    model = ends_in(softmax)
    plain = model[0] if isinstance(model, nn.Sequential) else model.body
    facts = facts_of(lambda: train(model, torch.optim.SGD(model.parameters(), lr=0.0)), tmp_path)
    assert facts.output_activation == "softmax"
    assert not all_remedies()["drop_output_softmax"].refusal(facts)
    x, y = blobs()
    with under({"drop_output_softmax": True}, facts) as run:
        losses = train(model, torch.optim.SGD(model.parameters(), lr=0.0), steps=1)
        with torch.no_grad():
            evaluated = F.cross_entropy(model(x), y)
    assert run.applied
    wanted = F.cross_entropy(plain(x[:8]), y[:8])
    wanted.backward()
    assert losses[0] == pytest.approx(number(wanted), rel=1e-5)
    assert number(evaluated) == pytest.approx(number(F.cross_entropy(plain(x), y)), rel=1e-4)
    assert torch.allclose(model(x).sum(1), torch.ones(64))  # the program's output stays


def test_softmax_repair_has_the_gradient_of_the_logits() -> None:
    grads = []
    for fix in ({}, {"drop_output_softmax": True}):
        torch.manual_seed(0)
        model = ends_in(lambda z: torch.softmax(z, 1)) if fix else mlp(6, 8, 3)
        with under(fix):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
            x, y = blobs()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_sigmoid_before_bce_with_logits_and_right_uses_left_alone() -> None:
    model = nn.Sequential(mlp(6, 8, 1), nn.Sigmoid())
    x, y = blobs()
    target = (y > 0).float()
    with under({"drop_output_softmax": True}) as run:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        loss = F.binary_cross_entropy_with_logits(model(x).squeeze(1), target)
        loss.backward()
        optimizer.step()
        right = F.binary_cross_entropy(model(x).squeeze(1), target)
        logits = F.cross_entropy(mlp(6, 3)(x), y)
    assert run.applied and run.session.applied["drop_output_softmax"]["calls"] == 1
    assert number(loss) == pytest.approx(number(right), rel=1e-5) and logits.isfinite()
    remedy = all_remedies()["drop_output_softmax"]
    assert remedy.refusal(Facts(loss_function="nll_loss", output_activation="log_softmax"))
    assert remedy.refusal(Facts(loss_function="binary_cross_entropy", output_activation="sigmoid"))
    assert remedy.refusal(Facts(loss_function="cross_entropy", output_activation="log_softmax"))


def test_an_evaluation_that_takes_the_output_for_logits_gets_them() -> None:
    """As if the model had no sigmoid: where its probabilities are used as such, they stay."""
    model = nn.Sequential(mlp(6, 8, 1), nn.Sigmoid())
    x, y = blobs()
    target = (y > 0).float()[:, None]

    def program() -> tuple[torch.Tensor, ...]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        F.binary_cross_entropy_with_logits(model(x), target).backward()
        optimizer.step()
        with torch.no_grad():
            return (
                torch.sigmoid(model(x)), model(x).squeeze(1).sigmoid()[:, None], model(x),
                model(x) > 0, model(x) > 0.5, torch.sigmoid(x), x > 0,
            )  # fmt: skip

    bare = program()
    with under({"drop_output_softmax": True}):
        twice, method, once, logit, half, other, positive = program()
    assert bare[0].min() >= 0.5, "squashed twice, every answer is yes"
    assert torch.equal(once, bare[2]) and torch.equal(half, bare[4])
    assert torch.equal(twice, once) and torch.equal(method, once)
    assert torch.equal(logit, half) and not torch.equal(logit, bare[3])
    assert torch.equal(other, bare[5]) and torch.equal(positive, bare[6])


def test_class_weights_balance_training_only() -> None:
    facts = Facts(loss_function="cross_entropy", task="classification", class_prior=(0.8, 0.2, 0.0))
    x, y = blobs()
    model = mlp(6, 8, 3)
    with under({"class_weights": True}, facts) as run:
        losses = train(model, torch.optim.SGD(model.parameters(), lr=0.0), steps=1)
        with torch.no_grad():
            plain = F.cross_entropy(model(x), y)
    weight = torch.tensor([0.625, 2.5, 1.0])
    assert losses[0] == pytest.approx(number(F.cross_entropy(model(x[:8]), y[:8], weight)))
    assert number(plain) == pytest.approx(number(F.cross_entropy(model(x), y)))
    assert run.applied


@pytest.mark.parametrize("function", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_class_weights_of_two_classes(function: str) -> None:
    facts = Facts(loss_function=function, task="binary", class_prior=(0.75, 0.25))
    model = nn.Sequential(mlp(6, 1), nn.Sigmoid())
    x, y = blobs()
    target = (y == 0).float()
    with under({"class_weights": True}, facts) as run:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        loss = getattr(F, function)(model(x).squeeze(1), target)
        loss.backward()
        optimizer.step()
    each = getattr(F, function)(model(x).squeeze(1), target, reduction="none")
    weight = torch.where(target > 0, 2.0, 2 / 3)
    assert run.applied and number(loss) == pytest.approx(number((each * weight).mean()), rel=1e-5)


def test_weights_of_the_program_are_not_overruled() -> None:
    facts = Facts(loss_function="cross_entropy", class_prior=(0.8, 0.1, 0.1))
    model = mlp(6, 3)
    with under({"class_weights": True}, facts) as run:
        loss = nn.CrossEntropyLoss(weight=torch.ones(3))
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), loss=loss)
    assert "already" in run.session.refused["class_weights"]


def test_label_smoothing() -> None:
    model = mlp(6, 3)
    x, y = blobs()
    with under({"label_smoothing": 0.2}) as run:
        losses = train(model, torch.optim.SGD(model.parameters(), lr=0.0), steps=1)
    wanted = F.cross_entropy(model(x[:8]), y[:8], label_smoothing=0.2)
    assert run.applied and losses[0] == pytest.approx(number(wanted))


def test_losses_are_replaced() -> None:
    x, _ = blobs()
    data = x, x[:, :1] * 100
    model = mlp(6, 1)
    with under({"loss": "huber"}, Facts(loss_function="mse_loss")) as run:
        losses = train(
            model,
            torch.optim.SGD(model.parameters(), lr=0.0),
            steps=1,
            data=data,
            loss=nn.MSELoss(),
        )
    assert run.applied
    assert losses[0] == pytest.approx(number(F.huber_loss(model(x[:8]), data[1][:8])))
    wrong = mlp(6, 3)
    with under({"loss": "cross_entropy"}, Facts(loss_function="nll_loss")) as run:
        losses = train(
            wrong, torch.optim.SGD(wrong.parameters(), lr=0.0), steps=1, loss=nn.NLLLoss()
        )
    x, y = blobs()
    assert run.applied and losses[0] == pytest.approx(number(F.cross_entropy(wrong(x[:8]), y[:8])))


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
def test_a_single_output_gets_the_binary_loss(shape: tuple[int, ...]) -> None:
    x, y = blobs()
    target = (y[:8] > 0).float().reshape(shape) if len(shape) > 1 else (y[:8] > 0).long()
    facts = Facts(loss_function="cross_entropy", head_width=1, label_min=0, label_max=1)
    remedy = all_remedies()["loss"]
    assert not remedy.refusal(facts)
    assert remedy.suggest(facts, NOTHING) == ("bce_with_logits",)
    model = mlp(6, 1)
    with under({"loss": "bce_with_logits"}, facts) as run:
        losses = train(
            model, torch.optim.SGD(model.parameters(), lr=0.0), steps=1, data=(x[:8], target),
            loss=nn.CrossEntropyLoss(),
        )  # fmt: skip
    expected = F.binary_cross_entropy_with_logits(model(x[:8]), target.reshape(8, 1).float())
    assert run.applied and losses[0] == pytest.approx(number(expected))
    assert "no other loss" in remedy.refusal(replace(facts, head_width=3))
    assert "no other loss" in remedy.refusal(replace(facts, label_max=4))
    assert "shape of the output" in remedy.advice("bce_with_logits", facts)


def test_the_binary_loss_refuses_targets_that_are_not_one_for_each_output() -> None:
    """Another head of the program's, with as many outputs as classes."""
    x, y = blobs()
    facts = Facts(loss_function="cross_entropy", head_width=1, label_min=0, label_max=1)
    model = mlp(6, 3)
    before = [p.detach().clone() for p in model.parameters()]
    with under({"loss": "bce_with_logits"}, facts) as run:
        train(
            model, torch.optim.SGD(model.parameters(), lr=1.0), steps=1, data=(x[:8], y[:8]),
            loss=nn.CrossEntropyLoss(),
        )  # fmt: skip
    assert run.session.refused == {"loss": "its targets are not one for each output"}
    assert run.status == "not_applied" and not run.applied
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_train_mode_holds_in_training_and_not_in_evaluation() -> None:
    model = nn.Sequential(mlp(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    modes = []
    model[1].register_forward_hook(
        lambda m, a, o: modes.append((m.training, torch.is_grad_enabled()))
    )
    with under({"train_mode": True}) as run:
        model.eval()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            train(model, optimizer, steps=2)
            with torch.no_grad():
                model(blobs()[0])
    assert run.applied
    assert set(modes) == {(True, True), (False, False)}


def test_unfreeze_trains_what_was_frozen() -> None:
    model = mlp(6, 8, 3)
    for p in model[0].parameters():
        p.requires_grad = False
    before = model[0].weight.detach().clone()
    with under({"unfreeze": True}) as run:
        held = [p for p in model.parameters() if p.requires_grad]
        train(model, torch.optim.SGD(held, lr=0.1))
    assert run.applied and not torch.equal(before, model[0].weight)


def test_missing_parameters_are_added() -> None:
    model = mlp(6, 8, 3)
    before = model[0].weight.detach().clone()
    with under({"add_missing_parameters": True}) as run:
        optimizer = torch.optim.Adam(model[2].parameters(), lr=0.1)
        train(model, optimizer)
    assert run.applied and not torch.equal(before, model[0].weight)
    assert len(optimizer.param_groups) == 1
