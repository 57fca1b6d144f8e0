from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from sweeper.remedies.optimizer import CLASSES, class_defaults, replace_class
from sweeper.types import Facts, OptimizerFact
from tests.remedies.harness import mlp, train, under


@pytest.mark.parametrize("name", sorted(set(CLASSES.values())))
def test_signature_defaults_are_those_of_an_instance(name: str) -> None:
    cls = getattr(torch.optim, name)
    made = cls([torch.nn.Parameter(torch.zeros(1))])
    assert class_defaults(cls) == made.defaults


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("own", ["SGD", "Adam", "Adadelta", "RMSprop"])
def test_swapped_steps_equal_those_of_the_real_class(kind: str, own: str) -> None:
    """The independent twin: the same model trained by an optimizer of that class from the start."""
    torch.manual_seed(0)
    model, twin = mlp(6, 8, 3), mlp(6, 8, 3)
    twin.load_state_dict(model.state_dict())
    extra = {"momentum": 0.9} if kind == "sgd_momentum" else {}
    theirs = getattr(torch.optim, CLASSES[kind])(
        twin.parameters(), lr=0.02, weight_decay=0.1, **extra
    )
    train(twin, theirs)
    with under({"optimizer": kind}) as run:
        optimizer = getattr(torch.optim, own)(model.parameters(), lr=0.02, weight_decay=0.1)
        train(model, optimizer)
    assert run.applied and type(optimizer).__name__ == CLASSES[kind]
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b)


def test_identity_groups_and_hooks_stay() -> None:
    with under({"optimizer": "sgd"}) as run:
        model = mlp(6, 8, 3)
        optimizer = torch.optim.Adam(
            [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[2].parameters()}],
            lr=0.1,
        )
        train(model, optimizer, steps=4)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.1]
    assert optimizer.param_groups[0]["momentum"] == 0.0
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)  # the program may still read it
    assert "betas" not in optimizer.defaults
    assert run.session.step == 4 and run.applied


def test_schedulers_that_cycle_momentum_still_work() -> None:
    for own, kind in (("SGD", "adamw"), ("Adam", "sgd"), ("SGD", "rmsprop")):
        with under({"optimizer": kind}):
            model = mlp(6, 8, 3)
            options = {"momentum": 0.9} if own == "SGD" else {}
            optimizer = getattr(torch.optim, own)(model.parameters(), lr=0.01, **options)
            scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
            train(model, optimizer, after=lambda step, s=scheduler: s.step())
        assert type(optimizer).__name__.lower() == kind
        assert scheduler.last_epoch > 1


def test_adam_relatives_keep_betas_and_fused_scaling_goes() -> None:
    model = mlp(6, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.8, 0.9), eps=1e-5)
    optimizer._step_supports_amp_scaling = True
    replace_class(optimizer, "adamw")
    group = optimizer.param_groups[0]
    assert group["betas"] == (0.8, 0.9) and group["eps"] == 1e-5 and group["decoupled_weight_decay"]
    assert not hasattr(optimizer, "_step_supports_amp_scaling")


def test_lbfgs_is_refused_before_and_while_running() -> None:
    from sweeper.remedies.optimizer import refusal

    fact = OptimizerFact(
        name="LBFGS", peak_lr=(1.0,), first_lr=1.0, last_lr=1.0, weight_decay=0.0, momentum=0.0,
        n_parameters=1, n_frozen=0, n_without_grad=0, n_missing=0,
    )  # fmt: skip
    assert "closure" in refusal(Facts(optimizers=(fact,)))
    with under({"optimizer": "adam"}) as run:
        torch.optim.LBFGS(mlp(6, 3).parameters())
    assert run.status == "not_applied" and "closure" in run.session.refused["optimizer"]
