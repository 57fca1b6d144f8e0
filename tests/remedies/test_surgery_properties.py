"""What every surgery promises, on models of any shape: it runs, it adds what it says, it can be
copied and saved, it leaves alone what is frozen, and undone it has never been."""

from __future__ import annotations

import copy
import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from sweeper.types import FixValue
from tests.remedies.harness import facts_of, restored, stored, train, under
from tests.remedies.models import Description, Model, built, descriptions

SURGERY: list[dict[str, FixValue]] = [
    {"activation": "gelu"},
    {"activation": "tanh"},
    {"activation": "leaky_relu"},
    {"normalisation": "batch"},
    {"normalisation": "layer"},
    {"normalisation": "none"},
    {"residual": True},
    {"dropout": 0.2},
    {"dropout": 0.0},
    {"init": "xavier"},
    {"init": "default"},
    {"init": {"scheme": "orthogonal", "scale": 0.5}},
    {"normalisation": "layer", "activation": "silu", "residual": True, "init": "kaiming"},
    {"residual": True, "normalisation": "batch", "dropout": 0.4, "activation": "elu"},
]
bounded = settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],  # a smaller example is not worth minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 11, (32, 5), generator=generator)
    return ids, ids[:, 0]


def outputs(model: nn.Module) -> torch.Tensor:
    """Of evaluation, which draws nothing."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    with torch.no_grad():
        result = model(data()[0])
    for module, training in modes:
        module.training = training
    return result


def anatomy(model: nn.Module) -> dict[str, Any]:
    """Names, classes, settings and hooks of all parts, the watcher's own hooks left out."""
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    plain = (int, float, str, bool, tuple, type(None))
    return {
        name: (
            type(module).__qualname__,
            {k: v for k, v in module.__dict__.items() if isinstance(v, plain)},
            [len(getattr(module, h)) for h in hooks] if name else [],
            list(module._parameters), list(module._modules),
        )
        for name, module in model.named_modules()
    }  # fmt: skip


def differences(model: nn.Module, other: nn.Module) -> list[Any]:
    """Parts that are not the same in both."""
    a, b = anatomy(model), anatomy(other)
    return [(n, a.get(n), b.get(n)) for n in a.keys() | b.keys() if a.get(n) != b.get(n)]


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)


def facts(watched: nn.Module) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return facts_of(
            lambda: train(watched, optimizer_of(watched), steps=2, data=data()), Path(folder)
        )


def frozen(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}


@bounded
@given(
    what=descriptions(), tied=st.booleans(), part=st.booleans(), fix=st.sampled_from(SURGERY),
    seed=st.integers(0, 3),
)  # fmt: skip
def test_surgery_keeps_its_promises(
    what: Description, tied: bool, part: bool, fix: dict[str, FixValue], seed: int
) -> None:
    def plain() -> Model:
        torch.manual_seed(seed)
        return Model(built(what), tied, part)

    known = facts(plain())
    operated = plain()
    kept = frozen(operated)
    with under(fix, known) as run:
        losses = train(operated, optimizer := optimizer_of(operated), steps=2, data=data())
    if run.status == "not_applied":
        assert all(run.session.refused.values())
        assert not differences(operated, plain())
        return
    assert run.applied, run.effects()
    assert len(losses) == 2 and all(map(math.isfinite, losses))

    promised = sum(e.get("parameters", 0) for e in run.session.applied.values())
    added = sum(p.numel() for p in operated.parameters())
    added -= sum(p.numel() for p in plain().parameters())
    assert added == promised
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in operated.parameters() if p.requires_grad}
    assert len(optimizer.param_groups) == 1
    assert (operated.head.weight is operated.embedding.weight) == tied
    assert {n: bool((frozen(operated)[n] == v).all()) for n, v in kept.items()} == dict.fromkeys(
        kept, True
    )
    assert torch.equal(outputs(copy.deepcopy(operated)), outputs(operated))
    if "parametrised" not in str(what):  # which torch does not save whole
        saved = restored(stored(operated))
        saved.load_state_dict(operated.state_dict())
        assert torch.equal(outputs(saved), outputs(operated))


@bounded
@given(
    what=descriptions(), tied=st.booleans(), fix=st.sampled_from(SURGERY), seed=st.integers(0, 3)
)
def test_undone_it_has_never_been(
    what: Description, tied: bool, fix: dict[str, FixValue], seed: int
) -> None:
    def plain() -> Model:
        torch.manual_seed(seed)
        return Model(built(what), tied, False)

    known = facts(plain())
    operated = plain()
    with under(fix, known) as run:
        optimizer = optimizer_of(operated)
        ids, targets = data()
        nn.functional.cross_entropy(operated(ids), targets).backward()
        if run.session.surgeon is not None:
            run.session.surgeon.take_back()
    if run.status == "not_applied":
        return
    untouched = plain()
    assert not differences(operated, untouched)
    assert torch.equal(outputs(operated), outputs(untouched))
    for (name, a), (_, b) in zip(
        operated.state_dict().items(), untouched.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name
    assert len(optimizer.param_groups[0]["params"]) == len(list(untouched.parameters()))
    assert not optimizer.state
    assert not (run.session.functions.swaps or run.session.functions.followers)
