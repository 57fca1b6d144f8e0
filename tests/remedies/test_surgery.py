"""activation, normalisation, residual, init and dropout: what they do to models."""

from __future__ import annotations

import copy
import math
import random
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from sweeper.remedies import residual
from sweeper.types import Facts, FixValue, LayerFact
from tests.remedies.harness import Run, blobs, facts_of, mlp, restored, stored, train, under

SURGERY: list[dict[str, FixValue]] = [
    {"activation": "gelu"},
    {"activation": "tanh"},
    {"normalisation": "batch"},
    {"normalisation": "layer"},
    {"residual": True},
    {"init": "xavier"},
    {"normalisation": "batch", "activation": "silu", "residual": True, "init": "kaiming"},
]


def random_model(seed: int) -> nn.Module:
    """Nested Sequentials of Linear layers with activations, dropout and a conv front now and
    then."""
    draw = random.Random(seed)
    blocks: list[nn.Module] = []
    width = 6
    if draw.random() < 0.4:
        blocks += [
            nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv1d(4, 4, 1),
            nn.Flatten(),
        ]  # fmt: skip
        width = 24
    for _ in range(draw.randint(1, 3)):
        out = draw.choice([8, width])
        act = draw.choice([nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU])()
        inner: list[nn.Module] = [nn.Linear(width, out), act]
        if draw.random() < 0.3:
            inner.append(nn.Dropout(0.2))
        blocks.append(nn.Sequential(*inner) if draw.random() < 0.5 else nn.ModuleList(inner))
        width = out
    flat: list[nn.Module] = []
    for block in blocks:
        flat += list(block) if isinstance(block, nn.ModuleList) else [block]
    return nn.Sequential(*flat, nn.Linear(width, 3))


@pytest.mark.parametrize("seed", range(6))
def test_surgery_on_random_models(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    model = stored(random_model(seed))
    twin = restored(model)
    facts = facts_of(
        lambda: train(twin, torch.optim.SGD(twin.parameters(), lr=0.01), steps=2), tmp_path
    )
    for fix in SURGERY[seed % 2 :: 2]:
        operated = restored(model)
        torch.manual_seed(5)
        with under(fix, facts) as run:
            optimizer = torch.optim.Adam(operated.parameters(), lr=0.01)
            losses = train(operated, optimizer)
        if run.status == "not_applied":
            assert run.session.refused.keys() & {"residual", "activation"}
            continue
        assert run.applied, run.effects()
        assert all(math.isfinite(loss) for loss in losses)
        check_identity(restored(model), operated, run, optimizer)
        check_modes(operated)
        again = restored(stored(operated)).eval()
        x, _ = blobs()
        assert torch.allclose(operated.eval()(x), again(x))


def check_identity(
    model: nn.Module, operated: nn.Module, run: Run, optimizer: torch.optim.Optimizer
) -> None:
    """Names stay, only promised parameters are added, all of them are trained."""
    assert dict(model.named_modules()).keys() <= dict(operated.named_modules()).keys()
    names = dict(model.named_parameters()).keys()
    assert names <= dict(operated.named_parameters()).keys()
    added = sum(p.numel() for p in operated.parameters()) - sum(
        p.numel() for p in model.parameters()
    )
    assert added == run.session.applied.get("normalisation", {}).get("parameters", 0)
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert len(optimizer.param_groups) == 1 and {id(p) for p in operated.parameters()} == held


def check_modes(model: nn.Module) -> None:
    """Eval does not depend on the batch; every part follows train() and eval()."""
    x, _ = blobs()
    model.eval()
    assert not any(m.training for m in model.modules())
    with torch.no_grad():
        assert torch.allclose(model(x)[:3], model(x[:3]), atol=1e-5)
    model.train()
    assert all(m.training for m in model.modules())


class Functional(nn.Module):
    """Activations called as functions, a gate, and a sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.gate, self.out = (
            nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.relu(self.a(x))
        gated = self.b(hidden) * torch.sigmoid(self.gate(x))
        return self.out(torch.relu(gated))


def test_call_sites_are_swapped_and_gates_are_not(tmp_path: Path) -> None:
    model = Functional()
    facts = facts_of(lambda: train(model, torch.optim.SGD(model.parameters(), lr=0.0)), tmp_path)
    x, _ = blobs()
    with under({"activation": "tanh"}, facts) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.0))
        got = model(x)
    assert run.applied and run.session.applied["activation"]["places"] == 2
    gated = model.b(torch.tanh(model.a(x))) * torch.sigmoid(model.gate(x))
    assert torch.allclose(got, model.out(torch.tanh(gated)))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(10, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.enc(self.emb(ids), src_key_padding_mask=ids == 0).mean(1))


@pytest.mark.parametrize(
    "fix", [{"activation": "tanh"}, {"normalisation": "batch"}, {"normalisation": "none"}]
)
def test_torchs_transformer_computes_the_same_in_eval_mode(
    fix: dict[str, FixValue], tmp_path: Path
) -> None:
    """The fused inference path would read weights directly and pass by what was changed."""
    ids = torch.arange(1, 49).reshape(8, 6) % 9 + 1
    ids[:, 4:] = 0
    data = ids, torch.arange(8) % 3
    model = Encoder()
    facts = facts_of(
        lambda: train(model, torch.optim.SGD(model.parameters(), lr=0.0), data=data), tmp_path
    )
    with under(fix, facts) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=1e-3), data=data)
    assert run.applied, (run.effects(), run.session.refused)
    model.eval()
    slow = model(ids)
    with torch.no_grad():
        assert torch.allclose(model(ids), slow, atol=1e-5)


def test_recurrent_functions_are_a_setting(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(6, 8, nonlinearity="relu", batch_first=True)
            self.out = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.rnn(x[:, None])[0][:, 0])

    model = Recurrent()
    facts = facts_of(lambda: train(model, torch.optim.SGD(model.parameters(), lr=0.0)), tmp_path)
    with under({"activation": "tanh"}, facts) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert run.applied and model.rnn.mode == "RNN_TANH" and model.rnn.nonlinearity == "tanh"
    assert "RNN" in repr(type(model.rnn.forward)) or callable(model.rnn.forward)
    x, _ = blobs()
    twin = nn.RNN(6, 8, nonlinearity="tanh", batch_first=True)
    twin.load_state_dict(model.rnn.state_dict())
    assert torch.allclose(model.rnn(x[:, None])[0], twin(x[:, None])[0])


def test_without_facts_the_last_activation_stays() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3), nn.Sigmoid())
    with under({"activation": "relu"}) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), loss=lambda p, y: p.sum())
    assert run.session.applied["activation"]["places"] == 1
    assert isinstance(model[1], nn.ReLU) and isinstance(model[3], nn.Sigmoid)


def normalised(model: nn.Module, kind: str, **options: int) -> Run:
    with under({"normalisation": kind}) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)
    return run


def test_batch_norms_become_layer_norms(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    twin = restored(stored(model))
    facts = facts_of(lambda: train(twin, torch.optim.SGD(twin.parameters(), lr=0.0)), tmp_path)
    with under({"normalisation": "layer"}, facts) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.0), batch=1)
    assert run.applied and run.session.applied["normalisation"]["parameters"] == 0
    x, _ = blobs()
    wanted = nn.functional.layer_norm(model[0](x), (8,))
    assert torch.allclose(model(x), model[3](torch.relu(wanted)), atol=1e-6)
    assert torch.allclose(restored(stored(model))(x), model(x))


def test_batch_normalisation_of_one_row_does_not_crash() -> None:
    model = mlp(6, 8, 8, 3)
    assert normalised(model, "batch", batch=9, steps=8).applied  # 64 rows: the eighth batch has 1
    assert normalised(mlp(6, 8, 3), "batch", batch=1).applied


def test_a_batch_size_of_one_is_refused_for_batch_statistics() -> None:
    facts = Facts(batch_size=1, layers=(LayerFact(name="0", kind="Linear", followed_by="relu"),))
    with under({"normalisation": "batch"}, facts) as run:
        pass
    assert "more than one sample" in run.session.refused["normalisation"]


def test_normalised_outputs_have_no_mean() -> None:
    model = nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )
    assert normalised(model, "layer").applied
    out = model[1](torch.randn(16, 1, 6))
    assert out.shape == (16, 4, 4)
    assert out.mean((1, 2)).abs().max() < 0.2
    assert model[1](torch.randn(1, 6)).shape == (4, 4)  # without a batch dimension


def test_single_linear_models_are_refused(tmp_path: Path) -> None:
    from sweeper.remedies import all_remedies

    model = mlp(6, 3)
    facts = facts_of(lambda: train(model, torch.optim.SGD(model.parameters(), lr=0.1)), tmp_path)
    for name in ("normalisation", "activation", "residual"):
        assert all_remedies()[name].refusal(facts)


def test_adagrad_takes_new_parameters() -> None:
    model = mlp(6, 8, 3)
    with under({"normalisation": "layer"}) as run:
        train(model, torch.optim.Adagrad(model.parameters(), lr=0.1))
    assert run.applied


@pytest.mark.parametrize("scheme", ["default", "kaiming", "xavier", "orthogonal", "lecun"])
def test_init_draws_weights_of_the_promised_size(scheme: str) -> None:
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.LayerNorm(256), nn.LSTM(256, 64))
    emb = nn.Embedding(5, 256)
    wrapped = nn.ModuleList([model, emb])
    for p in wrapped.parameters():
        nn.init.constant_(p, 7.0)
    from sweeper.remedies._weights import initialise

    changed = initialise([wrapped], None, scheme, 1.0)
    assert len(changed) == 3
    std = model[0].weight.detach().std().item()
    wanted = {
        "default": 1 / math.sqrt(3 * 256), "kaiming": math.sqrt(2 / 256), "xavier": 1 / 16,
        "orthogonal": 1 / 16, "lecun": 1 / 16,
    }[scheme]  # fmt: skip
    assert std == pytest.approx(wanted, rel=0.05)
    assert bool((model[2].weight == 7).all()) and bool((emb.weight == 7).all())
    assert bool((model[0].bias == 0).all()) or scheme == "default"
    assert model[3].weight_hh_l0.detach().std().item() < 1


def test_scale_multiplies_and_keeps_the_rest() -> None:
    model = mlp(6, 8, 3)
    before = copy.deepcopy(model.state_dict())
    with under({"init": {"scheme": "keep", "scale": 0.5}}) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert run.applied
    for name, value in model.state_dict().items():
        factor = 0.5 if name.endswith("weight") else 1.0
        assert torch.allclose(value, before[name] * factor)


def test_an_init_that_the_program_undoes_is_told() -> None:
    model = mlp(6, 8, 3)
    with under({"init": "kaiming"}) as run:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = blobs()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        with torch.no_grad():
            model[0].weight.mul_(3)
        optimizer.step()
    assert "overwritten" in run.effects()["init"]


def test_residual_adds_the_input_behind_the_activation() -> None:
    model = mlp(6, 6, 6, 3)
    before = stored(model)
    with under({"residual": True}) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert run.applied
    x, _ = blobs()
    plain = restored(before)
    first = x + torch.relu(plain[0](x))
    second = first + torch.relu(plain[2](first))
    assert torch.allclose(model(x), plain[4](second), atol=1e-6)


def test_many_shortcuts_add_less_each() -> None:
    """39 plain ones grow what goes through beyond any use; each divided by the root of their
    number, it stays of its size."""
    model = mlp(6, *[6] * 39, 3)
    before = stored(model)
    with under({"residual": True}) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert run.applied
    x, _ = blobs()
    hidden = x
    for layer in restored(before)[:-1:2]:
        hidden = hidden + torch.relu(layer(hidden)) / 39**0.5
    assert torch.allclose(model(x), restored(before)[-1](hidden), atol=1e-5)
    assert residual.share(10) == 1.0 > residual.share(11)


class Deep(nn.Module):
    """Functional activations, and a layer whose output is added to another's (as in a recurrent
    cell)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.out = (nn.Linear(6, n) for n in (6, 6, 6, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.a(x))
        return self.out(torch.tanh(self.b(x) + self.c(x)))


@pytest.mark.parametrize("also", [{}, {"activation": "relu"}], ids=str)
def test_residual_around_called_functions(also: dict[str, FixValue], tmp_path: Path) -> None:
    model = Deep()
    facts = facts_of(lambda: train(model, torch.optim.SGD(model.parameters(), lr=0.0)), tmp_path)
    x, _ = blobs()
    with under({"residual": True, **also}, facts) as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.0))
        got = model(x)
    assert run.applied and run.session.applied["residual"]["called"] == 1
    act = torch.relu if also else torch.tanh
    first = x + act(model.a(x))
    assert torch.allclose(got, model.out(act(model.b(first) + model.c(first))), atol=1e-6)


def test_dropout_is_set_everywhere_and_held() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dropout of a one-layer GRU
        gru = nn.GRU(4, 4, num_layers=2, dropout=0.3)
    model = nn.ModuleDict({"a": mlp(6, 8, 3), "d": nn.Dropout(0.5), "g": gru})

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return model["a"](model["d"](x))

    with under({"dropout": 0.1}) as run:
        train(Model(), torch.optim.SGD(model.parameters(), lr=0.1))
    assert run.applied and model["d"].p == 0.1 and gru.dropout == 0.1
