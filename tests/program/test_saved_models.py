"""A watched program saves the model that it would save alone."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from sweeper.program.hooks import Hook, laid_aside
from sweeper.remedies._loading import allow_loading
from sweeper.types import FixValue
from tests.conftest import Runner


def test_a_whole_model_loads_back_with_known_classes_only(run: Runner) -> None:
    seen = run("saves_model")
    assert seen.outcome.status == "finished", seen.outcome.error
    assert "loaded 450" in seen.output
    assert len(seen.record.series("accuracy")) == 12  # the hooks came back


@pytest.mark.parametrize(
    "fix",
    [
        {"residual": True, "dropout": 0.1},
        {"normalisation": "batch", "activation": "gelu"},
        {"standardise_inputs": True, "init": "xavier"},
    ],
    ids=lambda fix: "+".join(fix),
)
def test_a_model_under_surgery_loads_back_as_well(run: Runner, fix: dict[str, FixValue]) -> None:
    facts = run("saves_model").record.facts
    seen = run("saves_model", fix, facts=facts)
    assert seen.outcome.status == "finished", seen.outcome.error
    assert set(seen.outcome.applied) == set(fix) and "loaded" in seen.output


def test_hooks_come_back_in_their_order_and_the_programs_own_stay() -> None:
    calls: list[str] = []

    def own(*_: Any) -> None:
        calls.append("own")

    model = nn.Linear(2, 1)
    model.register_forward_hook(Hook(lambda *_: calls.append("watch")))
    handle = model.register_forward_hook(own)
    with laid_aside([{"net": model}], ()):
        model(torch.ones(1, 2))
        assert calls == ["own"]
    model(torch.ones(1, 2))
    assert calls == ["own", "watch", "own"]
    handle.remove()
    model(torch.ones(1, 2))
    assert calls == ["own", "watch", "own", "watch"]


def test_a_save_that_fails_leaves_the_hooks_in_place() -> None:
    calls: list[int] = []
    model = nn.Linear(2, 1)
    model.register_forward_pre_hook(Hook(lambda *_: calls.append(1)))
    with pytest.raises((pickle.PicklingError, AttributeError)), laid_aside(model, ()):
        torch.save((model, lambda: 0), io.BytesIO())
    model(torch.ones(1, 2))
    assert calls == [1]


def test_an_activation_that_is_an_attribute_may_be_loaded() -> None:
    allow_loading()
    file = io.BytesIO()
    torch.save({"activation": nn.functional.gelu}, file)
    file.seek(0)
    assert torch.load(file)["activation"] is nn.functional.gelu
