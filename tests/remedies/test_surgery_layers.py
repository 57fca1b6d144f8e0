"""Layers, activations, dropout and weights of every make: each surgery does what a person would."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from sweeper.remedies import _weights, all_remedies
from sweeper.types import Facts, FixValue
from tests.remedies.harness import Run, blobs, facts_of, mlp, train, under


class Conv1D(nn.Module):
    """As in GPT-2: a Linear whose weight is [in, out]."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf) * 0.3)
        self.bias = nn.Parameter(torch.zeros(nf))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (*x.shape[:-1], self.nf)
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(shape)


class NewGELUActivation(nn.Module):
    """As in transformers: no class of torch, written out in several operations."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
        return 0.5 * x * (1.0 + torch.tanh(inner))


class Applied(nn.Module):
    """A function between two layers."""

    def __init__(self, function: Callable[..., torch.Tensor], width: int = 6) -> None:
        super().__init__()
        self.a, self.function, self.out = nn.Linear(6, width), function, nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.function(self.a(x)))


def sgd(model: nn.Module, rate: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate)


def operated(
    model: nn.Module, fix: dict[str, FixValue], folder: Path, rate: float = 0.0
) -> tuple[Run, Facts]:
    """The model under a fix, by the facts of a run without; a rate of 0 keeps its weights."""
    folder.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        facts = facts_of(lambda: train(model, sgd(model), steps=2), folder)
    with under(fix, facts) as run:
        train(model, sgd(model, rate))
    return run, facts


# -- layers and their normalisation ----------------------------------------------------------------


def test_a_transposed_linear_is_a_layer(tmp_path: Path) -> None:
    model = nn.Sequential(Conv1D(8, 6), NewGELUActivation(), nn.Linear(8, 3))
    run, facts = operated(model, {"normalisation": "layer"}, tmp_path)
    assert run.applied and (facts.layers[0].n_in, facts.layers[0].n_out) == (6, 8)
    x, _ = blobs()
    assert torch.allclose(model[0](x), F.layer_norm(x @ model[0].weight, (8,)), atol=1e-5)
    advice = all_remedies()["normalisation"].advice("layer", facts)
    assert advice.startswith("nn.LayerNorm(8)")


def test_activations_of_other_libraries_are_swapped(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 8), NewGELUActivation(), nn.Linear(8, 3))
    run, _ = operated(model, {"activation": "relu"}, tmp_path)
    assert run.applied and type(model[1]) is nn.ReLU


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_features_of_sequences_are_the_last_dimension(kind: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Unflatten(1, (3, 2)), nn.Linear(2, 5), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(15, 3))
    run, _ = operated(model, {"normalisation": kind}, tmp_path)
    assert run.applied and run.session.applied["normalisation"]["parameters"] == 10
    x = torch.randn(64, 3, 2)
    plain = F.linear(x, model[1].weight, model[1].bias)
    if kind == "layer":
        assert torch.allclose(model[1](x), F.layer_norm(plain, (5,)), atol=1e-5)
    else:
        wanted = F.batch_norm(plain.transpose(1, 2), None, None, training=True).transpose(1, 2)
        assert torch.allclose(model[1](x), wanted, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_channels_of_convolutions_come_first(
    n: int, transposed: bool, kind: str, tmp_path: Path
) -> None:
    make = getattr(nn, f"Conv{'Transpose' if transposed else ''}{n}d")
    shape = (1, 6, *[1] * (n - 1))
    model = nn.Sequential(nn.Unflatten(1, shape), make(1, 4, 1), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(24, 3))
    run, facts = operated(model, {"normalisation": kind}, tmp_path)
    assert run.applied and run.session.applied["normalisation"]["parameters"] == 8
    out = model[1](torch.randn(32, *shape))
    over = [0, *range(2, n + 2)] if kind == "batch" else list(range(1, n + 2))
    assert out.shape == (32, 4, *shape[1:]) and out.mean(over).abs().max() < 1e-3
    assert f"BatchNorm{n}d(4)" in all_remedies()["normalisation"].advice("batch", facts)


def test_new_parameters_have_the_layers_precision(tmp_path: Path) -> None:
    model = mlp(6, 8, 3).double()
    x, y = blobs()
    data = x.double(), y
    with under({"normalisation": "layer"}) as run:
        train(model, sgd(model), data=data)
    assert run.applied and {p.dtype for p in model.parameters()} == {torch.float64}


def test_vectors_join_the_group_without_weight_decay(tmp_path: Path) -> None:
    for bias in (True, False):
        model = nn.Sequential(nn.Linear(6, 8, bias=bias), nn.ReLU(), nn.Linear(8, 3))
        matrices = [p for p in model.parameters() if p.dim() > 1]
        vectors = [p for p in model.parameters() if p.dim() < 2]
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        with under({"normalisation": "layer"}) as run:
            train(model, optimizer := torch.optim.AdamW(groups, weight_decay=0.1))
        assert run.applied
        assert [len(g["params"]) for g in optimizer.param_groups] == [2, len(vectors) + 2]


def test_vectors_stay_beside_their_layer_where_rates_differ(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3))
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[2].parameters()}]
    with under({"normalisation": "layer"}) as run:
        train(model, optimizer := torch.optim.SGD(groups, lr=0.1))
    assert run.applied and [len(g["params"]) for g in optimizer.param_groups] == [3, 2]


def test_an_optimizer_for_matrices_gets_no_vectors(tmp_path: Path) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch has no Muon here")
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))
    with under({"normalisation": "layer"}) as run:
        train(model, torch.optim.Muon(model.parameters()))
    assert "vectors" in run.session.refused["normalisation"]
    model.append(nn.Linear(3, 3))
    with under({"normalisation": "layer"}) as run:
        first = torch.optim.Muon([model[0].weight, model[2].weight, model[3].weight])
        second = torch.optim.AdamW([model[3].bias])
        x, y = blobs()
        for _ in range(3):
            F.cross_entropy(model(x), y).backward()
            first.step()
            second.step()
    assert run.applied and len(second.param_groups[0]["params"]) == 5


# -- activations -----------------------------------------------------------------------------------


def dropped_result(x: torch.Tensor) -> torch.Tensor:
    F.relu(x, True)
    return x


@pytest.mark.parametrize("kind", ["elu", "tanh"])
def test_called_activations_in_place_change_their_tensor(kind: str, tmp_path: Path) -> None:
    model = Applied(dropped_result)
    x, _ = blobs()
    facts = facts_of(lambda: train(model, sgd(model), steps=2), tmp_path)
    with under({"activation": kind}, facts) as run:
        train(model, sgd(model))
        got = model(x)
    assert run.applied
    assert torch.allclose(got, model.out(getattr(torch, kind, F.elu)(model.a(x))))


def test_activation_modules_in_place_stay_so_where_torch_can(tmp_path: Path) -> None:
    for kind in ("silu", "leaky_relu", "elu", "mish", "selu"):
        model = nn.Sequential(nn.Conv1d(1, 4, 1), nn.ReLU(inplace=True), nn.Flatten())
        model = nn.Sequential(nn.Unflatten(1, (1, 6)), *model, nn.Linear(24, 3))
        run, _ = operated(model, {"activation": kind}, tmp_path, rate=0.1)
        assert run.applied and model[2].inplace


def test_a_module_with_parts_is_no_activation(tmp_path: Path) -> None:
    class ReluThenDrop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.drop = nn.ReLU(), nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.drop(self.act(x))

    model = nn.Sequential(nn.Linear(6, 8), ReluThenDrop(), nn.Linear(8, 3))
    run, _ = operated(model, {"activation": "tanh"}, tmp_path)
    assert run.applied and type(model[1].act) is nn.Tanh and type(model[1]) is ReluThenDrop


def test_an_activation_module_of_a_transformer_layer(tmp_path: Path) -> None:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, dropout=0.0, activation=nn.ReLU())
    model = nn.Sequential(nn.Unflatten(1, (1, 6)), layer, nn.Flatten(), nn.Linear(6, 3))
    run, _ = operated(model, {"activation": "tanh"}, tmp_path)
    assert run.applied and type(layer.activation) is nn.Tanh
    model.eval()
    x, _ = blobs()
    slow = model(x)
    with torch.no_grad():
        assert torch.allclose(model(x), slow, atol=1e-6)


# -- shortcuts -------------------------------------------------------------------------------------


def test_shortcuts_keep_the_programs_own_activation(tmp_path: Path) -> None:
    model = Applied(lambda x: F.leaky_relu(x, 0.3))
    facts = facts_of(lambda: train(model, sgd(model), steps=2), tmp_path)
    x, _ = blobs()
    with under({"residual": True}, facts) as run:
        train(model, sgd(model))
        got = model(x)
    assert run.applied
    assert torch.allclose(got, model.out(x + F.leaky_relu(model.a(x), 0.3)), atol=1e-6)


def test_gates_get_no_shortcut(tmp_path: Path) -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.gate = (nn.Linear(6, 6) for _ in range(3))
            self.out = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.a(x))
            return self.out(self.b(x) * torch.sigmoid(self.gate(x)))

    model = Gate()
    facts = facts_of(lambda: train(model, sgd(model), steps=2), tmp_path)
    x, _ = blobs()
    with under({"residual": True}, facts) as run:
        train(model, sgd(model))
        got = model(x)
    first = x + torch.relu(model.a(x))
    assert run.session.applied["residual"]["called"] == 1
    wanted = model.out(model.b(first) * torch.sigmoid(model.gate(first)))
    assert torch.allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("order", [False, True])
def test_shortcuts_span_normalisation_and_dropout(order: bool, tmp_path: Path) -> None:
    """The same in training and in evaluation, whichever of two remedies comes first."""
    model = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Dropout(0.0), nn.Tanh())
    model.extend([nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)])
    fix: dict[str, FixValue] = {"residual": True, "normalisation": "layer"}
    run, _ = operated(model, dict(reversed(fix.items())) if order else fix, tmp_path)
    assert run.applied and run.session.applied["residual"]["called"] == 2
    x, _ = blobs()
    first = x + torch.tanh(model[1](F.linear(x, model[0].weight, model[0].bias)))
    plain = F.linear(first, model[4].weight, model[4].bias)
    wanted = model[6](first + torch.relu(F.layer_norm(plain, (6,))))
    assert torch.allclose(model.train()(x), wanted, atol=1e-5)
    assert torch.allclose(model.eval()(x), wanted, atol=1e-5)


def test_shortcuts_pass_through_called_dropout(tmp_path: Path) -> None:
    model = Applied(lambda x: torch.relu(F.dropout(x, 1e-9, model.training)))
    facts = facts_of(lambda: train(model, sgd(model), steps=2), tmp_path)
    x, _ = blobs()
    with under({"residual": True}, facts) as run:
        train(model, sgd(model))
        assert torch.allclose(model.train()(x), model.eval()(x), atol=1e-5)
    assert run.applied


# -- dropout ---------------------------------------------------------------------------------------


def attention(x: torch.Tensor) -> torch.Tensor:
    parts = x.view(-1, 1, 3, 2)
    return F.scaled_dot_product_attention(parts, parts, parts, dropout_p=0.5).reshape(-1, 6)


CALLED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "functional": lambda x: F.dropout(x, 0.5),
    "by name": lambda x: F.dropout(x, p=0.5, training=True),
    "of torch": lambda x: torch.dropout(x, 0.5, True),
    "alpha": lambda x: F.alpha_dropout(x, 0.5, True),
    "attention": attention,
}


@pytest.mark.parametrize("kind", CALLED)
def test_called_dropout_is_set(kind: str, tmp_path: Path) -> None:
    model = Applied(CALLED[kind])
    facts = facts_of(lambda: train(model, sgd(model), steps=2), tmp_path)
    assert facts.dropout == (0.5,) and facts.n_dropout_calls == 1
    x, _ = blobs()
    with under({"dropout": 0.0}, facts) as run:
        train(model, sgd(model))
        assert torch.equal(model(x), model(x))
    assert run.applied and run.session.applied["dropout"]["calls"] > 0
    assert not torch.equal(model(x), model(x))


def test_dropout_in_evaluation_stays_off(tmp_path: Path) -> None:
    model = Applied(lambda x: F.dropout(x, 0.5, model.training))
    facts = facts_of(lambda: train(model, sgd(model), steps=2), tmp_path)
    x, _ = blobs()
    with under({"dropout": 0.9}, facts) as run:
        train(model, sgd(model))
        model.eval()
        assert torch.equal(model(x), model(x))
    assert run.applied


def test_rates_of_attention_and_stacked_recurrence_are_facts(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(6, 6, num_layers=2, dropout=0.4)
            self.attention = nn.MultiheadAttention(6, 2, dropout=0.3)
            self.out = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.cell(x[:, None])[0]
            return self.out(self.attention(x, x, x)[0][:, 0])

    model = Recurrent()
    run, facts = operated(model, {"dropout": 0.1}, tmp_path)
    assert sorted(facts.dropout) == [0.3, 0.4] and not all_remedies()["dropout"].refusal(facts)
    assert run.applied and model.cell.dropout == model.attention.dropout == 0.1


# -- weights ---------------------------------------------------------------------------------------


def std_after(module: nn.Module, scheme: str, name: str = "weight") -> float:
    root = nn.ModuleList([module])
    assert _weights.initialise([root], None, scheme, 1.0)
    value: torch.Tensor = getattr(module, name).detach()
    return value.std().item()


def test_fans_of_transposed_layers() -> None:
    """Every output of a layer of noise has the variance that Kaiming promises (gain 2)."""
    for module, x in (
        (Conv1D(400, 100), torch.randn(200, 100)),
        (nn.Linear(100, 400), torch.randn(200, 100)),
        (nn.Conv2d(64, 32, 3, groups=2), torch.randn(8, 64, 12, 12)),
        (nn.ConvTranspose2d(64, 32, 4, stride=2), torch.randn(8, 64, 12, 12)),
        (nn.ConvTranspose1d(64, 32, 3, groups=4), torch.randn(8, 64, 40)),
    ):
        std_after(module, "kaiming")
        out = module(x)
        inner = out[..., 4:-4, 4:-4] if out.dim() == 4 else out[..., 4:-4]
        assert inner.var().item() == pytest.approx(2.0, rel=0.15), module


@pytest.mark.parametrize("scheme", ["default", "kaiming", "xavier", "orthogonal"])
def test_parametrised_weights_are_drawn_through_their_parametrisation(scheme: str) -> None:
    plain = std_after(nn.Linear(64, 64), scheme)
    assert std_after(parametrizations.weight_norm(nn.Linear(64, 64)), scheme) == pytest.approx(
        plain, rel=0.1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = torch.nn.utils.weight_norm(nn.Linear(64, 64))
    std_after(old, scheme)
    old(torch.zeros(1, 64))  # composes the weight anew
    assert old.weight.detach().std().item() == pytest.approx(plain, rel=0.1)


def test_what_cannot_be_drawn_through_a_parametrisation_stays() -> None:
    class OneWay(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.exp()

    layer = nn.Linear(4, 4)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", OneWay())
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    assert _weights.initialise([layer], None, "xavier", 1.0) == []
    assert torch.equal(layer.weight, before[0]) and torch.equal(layer.bias, before[1])


def test_recurrent_matrices_are_orthogonal_gate_by_gate() -> None:
    lstm = nn.LSTM(8, 8, proj_size=4, bidirectional=True)
    attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    kept = attention.bias_k.detach().clone()
    _weights.initialise([lstm, attention], None, "orthogonal", 1.0)
    for name, matrix in lstm.named_parameters():
        if "bias" in name:
            assert not matrix.any()
            continue
        for gate in matrix.detach().chunk(4 if "_hr" not in name else 1):
            small = gate @ gate.T if gate.shape[0] <= gate.shape[1] else gate.T @ gate
            assert torch.allclose(small, torch.eye(len(small)), atol=1e-5), name
    for block in attention.in_proj_weight.detach().chunk(3):
        assert torch.allclose(block @ block.T, torch.eye(8), atol=1e-5)
    assert torch.equal(attention.bias_k, kept)


def test_only_what_was_not_loaded_is_drawn(tmp_path: Path) -> None:
    def make() -> nn.Sequential:
        return nn.Sequential(mlp(6, 6, 6), nn.ReLU(), nn.Linear(6, 3))

    weights = {k: v.clone() for k, v in mlp(6, 6, 6).state_dict().items()}
    watched, model = make(), make()

    def program(net: nn.Sequential) -> None:
        net[0].load_state_dict(weights)
        train(net, sgd(net), steps=2)

    facts = facts_of(lambda: program(watched), tmp_path)
    assert facts.pretrained and facts.n_loaded == 84 and facts.n_parameters == 105
    assert not all_remedies()["init"].refusal(facts)
    head = model[2].weight.detach().clone()
    with under({"init": "kaiming"}, facts) as run:
        program(model)
    assert run.applied and run.session.applied["init"]["tensors"] == 1
    assert all(torch.equal(v, weights[k]) for k, v in model[0].state_dict().items())
    assert not torch.equal(model[2].weight, head)
    with under({"init": "kaiming"}) as run:
        model.load_state_dict(make().state_dict())
        train(model, sgd(model))
    assert "pretrained" in run.session.refused["init"]


def test_copies_of_loaded_weights_are_loaded_weights(tmp_path: Path) -> None:
    import copy

    def program() -> None:
        body = mlp(6, 6, 6)
        body.load_state_dict(mlp(6, 6, 6).state_dict())
        model = nn.Sequential(copy.deepcopy(body), nn.Linear(6, 3))
        del body
        train(model, sgd(model), steps=2)

    assert facts_of(program, tmp_path).n_loaded == 84


def test_zero_on_purpose_is_left_and_named() -> None:
    model = nn.Sequential(*[nn.Linear(6, 6) for _ in range(4)], nn.Linear(6, 3))
    nn.init.zeros_(model[1].weight)
    with under({"init": "xavier"}) as run:
        train(model, sgd(model))
    assert run.applied and run.session.applied["init"]["left_at_zero"] == ["1.weight"]
    assert not model[1].weight.any() and model[0].weight.any()
    for layer in model:
        nn.init.zeros_(layer.weight)
    with under({"init": "xavier"}) as run:
        train(model, sgd(model))
    assert run.applied and run.session.applied["init"]["left_at_zero"] == []
    assert all(layer.weight.any() for layer in model)
