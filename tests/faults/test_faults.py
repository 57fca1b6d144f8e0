"""What every fault promises, and what single ones do."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sweeper.faults import all_faults, parse_fault
from sweeper.telemetry.record import read_captured
from sweeper.types import Cause, Facts, FixValue, RunRecord, UsageError
from tests.faults import harness

FAULTS = all_faults()
each = pytest.mark.parametrize("name", FAULTS)
PROGRAMS: dict[str, harness.Program] = {
    "classifier": harness.classifier,
    "binary": harness.binary,
    "regression": harness.regression,
    "tokens": harness.tokens,
}
OTHERS = {"sigmoid_output": "binary"}
"""Faults that a classifier by cross entropy cannot have -> a program that can."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunRecord]:
    folder = tmp_path_factory.mktemp("sound")
    return {name: harness.run(program, folder / name) for name, program in PROGRAMS.items()}


Broken = Callable[..., RunRecord]


@pytest.fixture
def broken(sound: dict[str, RunRecord], tmp_path: Path) -> Broken:
    """``broken(fault, value=default, program="classifier")``: the record under the fault."""

    def make(name: str, value: FixValue | None = None, program: str = "classifier") -> RunRecord:
        chosen = FAULTS[name].default if value is None else value
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        facts = sound[program].facts
        return harness.run(PROGRAMS[program], folder, name, chosen, facts)

    return make


def test_there_are_many() -> None:
    assert len(FAULTS) >= 20
    named = {cause for fault in FAULTS.values() for cause in fault.causes(fault.default)}
    assert len(named) >= 20


def test_the_driver_side_imports_no_torch() -> None:
    code = (
        "import sys; from sweeper.faults import all_faults; from sweeper.types import Facts;"
        "[f.refusal(f.default, Facts()) for f in all_faults().values()];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@each
def test_says_what_it_is(name: str) -> None:
    fault = FAULTS[name]
    assert fault.name == name
    assert len(fault.summary) > 5
    assert fault.values
    assert len(fault.source) > 5
    assert all(isinstance(cause, Cause) for cause in fault.causes(fault.default))
    assert fault.causes(fault.default)
    assert fault.validate(fault.default) == fault.default


@each
@pytest.mark.parametrize("value", ["nonsense", math.nan, -1e30, 1e30, [1]])
def test_wrong_values_name_the_rule(name: str, value: FixValue) -> None:
    with pytest.raises(UsageError, match=f"{name} .*got"):
        FAULTS[name].validate(value)


def test_words_are_read() -> None:
    assert parse_fault("clip") == (FAULTS["clip"], 1e-5)
    assert parse_fault("clip=0.5") == (FAULTS["clip"], 0.5)
    assert parse_fault("activation=tanh") == (FAULTS["activation"], "tanh")
    with pytest.raises(UsageError, match=r"got 'clips'; did you mean 'clip'\?"):
        parse_fault("clips")
    with pytest.raises(UsageError, match="known are activation"):
        parse_fault("zzz")
    with pytest.raises(UsageError, match="no_clip takes no value, got 3"):
        parse_fault("no_clip=3")


@each
def test_takes_hold_and_is_missed_where_it_was_not_put(
    name: str, sound: dict[str, RunRecord], broken: Broken
) -> None:
    fault, program = FAULTS[name], OTHERS.get(name, "classifier")
    assert not fault.refusal(fault.default, sound[program].facts)
    record = broken(name, program=program)
    assert not record.outcome.refused
    assert not fault.effect(fault.default, record)
    assert fault.effect(fault.default, sound[program])


@each
def test_an_unknown_program_is_refused_with_a_reason_or_taken(name: str) -> None:
    reason = FAULTS[name].refusal(FAULTS[name].default, Facts())
    free = {"init_scale"}
    assert bool(reason) == (name not in free)


REFUSED = [
    ("no_clip", "tokens", "does not clip"),
    ("no_warmup", "tokens", "does not rise"),
    ("softmax_output", "regression", "mse_loss"),
    ("sigmoid_output", "classifier", "cross_entropy"),
    ("noisy_labels", "regression", "not class labels"),
    ("class_imbalance", "tokens", "no DataLoader"),
    ("tiny_batch", "tokens", "no DataLoader"),
    ("input_scale", "tokens", "token ids"),
    ("input_outliers", "tokens", "token ids"),
    ("nan_inputs", "tokens", "token ids"),
    ("eval_mode", "tokens", "mode changes nothing"),
    ("no_normalisation", "tokens", "no normalisation"),
    ("dead_relu", "binary", "no layer is followed by a rectifier"),
    ("activation", "binary", "tanh"),
    ("optimizer", "binary", "trains with SGD"),
    ("wrong_loss", "binary", "no wrong form"),
]


@pytest.mark.parametrize(("name", "program", "reason"), REFUSED)
def test_refused_with_the_fact(
    name: str, program: str, reason: str, sound: dict[str, RunRecord]
) -> None:
    fault = FAULTS[name]
    assert reason in fault.refusal(fault.default, sound[program].facts)


def test_pretrained_weights_are_left_alone(sound: dict[str, RunRecord]) -> None:
    facts = replace(sound["classifier"].facts, pretrained=True)
    for name in ("init_scale", "frozen_body", "missing_parameters"):
        assert "pretrained" in FAULTS[name].refusal(FAULTS[name].default, facts)


def test_facts_show_what_was_done(sound: dict[str, RunRecord], broken: Broken) -> None:
    """To whoever watches, the program itself has the fault."""
    own = sound["classifier"].facts
    faster = broken("learning_rate", 10.0).facts.optimizers[0]
    assert faster.peak_lr[0] == pytest.approx(10 * own.optimizers[0].peak_lr[0])
    assert faster.first_lr == pytest.approx(10 * own.optimizers[0].first_lr)
    assert not broken("no_clip").facts.clips
    assert [c.max_norm for c in broken("clip", 1e-4).facts.clips] == [1e-4]
    assert broken("softmax_output").facts.output_activation == "softmax"
    assert broken("no_zero_grad").facts.grads_zeroed is False
    assert broken("eval_mode").facts.trained_in_eval_mode is True
    assert broken("optimizer").facts.optimizers[0].name == "SGD"
    assert broken("wrong_loss").facts.loss_function == "nll_loss"
    assert broken("no_normalisation").facts.norms == ()
    assert broken("missing_parameters").facts.optimizers[0].n_missing > 100
    assert broken("frozen_body").facts.n_frozen > 100
    assert max(broken("class_imbalance").facts.class_prior) > 0.9
    assert broken("tiny_batch").facts.batch_size == 3 - 1
    assert {s.function for s in broken("activation", "tanh").facts.activations} == {"tanh"}


def evaluated_encoder() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        loss = model(torch.randn(4, 5, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        model.eval()(torch.randn(4, 5, 8))


def test_a_transformer_without_normalisation_can_be_evaluated(tmp_path: Path) -> None:
    """torch's fused path compares the settings of the two normalisations, which are gone."""
    facts = harness.run(evaluated_encoder, tmp_path / "sound").facts
    record = harness.run(evaluated_encoder, tmp_path / "run", "no_normalisation", True, facts)
    assert record.outcome.applied["fault:no_normalisation"]["removed"] == 4
    assert not record.facts.norms


def test_schedules(sound: dict[str, RunRecord], broken: Broken) -> None:
    own = sound["classifier"].series("lr")
    peak = float(own.max())
    assert own[0] < 0.2 * peak
    assert broken("no_warmup").series("lr")[0] == pytest.approx(peak)
    decayed = broken("early_decay").series("lr")
    assert decayed[0] == pytest.approx(own[0])
    assert decayed[-1] < 1e-3 * decayed.max()


def test_call_sites_of_activations_are_changed_too(broken: Broken) -> None:
    record = broken("activation", program="tokens")
    assert not FAULTS["activation"].effect("sigmoid", record)
    assert broken("activation", program="regression").facts.activations[0].function == "sigmoid"
    assert float(torch.relu(torch.tensor(-1.0))) == 0.0, "undone at the end of a run"


@pytest.mark.parametrize("name", ["shuffled_labels", "noisy_labels", "misaligned_targets"])
def test_wrong_targets_are_for_training_only(name: str, broken: Broken) -> None:
    record = broken(name)
    assert record.evals is not None
    assert record.facts.class_prior == pytest.approx((1 / 3,) * 3, abs=0.1)
    accuracy = record.series("accuracy")
    assert accuracy.mean() < 0.8


@pytest.mark.parametrize("name", ["shuffled_labels", "noisy_labels"])
def test_a_sample_keeps_its_wrong_target(name: str, broken: Broken) -> None:
    record = broken(name)  # two passes over the data
    assert record.folder is not None
    captured = read_captured(record.folder)
    assert captured is not None
    assert len(captured.inputs) == 2 * 192
    given: dict[tuple[float, ...], set[float]] = {}
    for row, target in zip(captured.inputs.tolist(), captured.targets.tolist(), strict=True):
        given.setdefault(tuple(row), set()).add(target)
    assert len(given) == 192
    assert all(len(targets) == 1 for targets in given.values())
    x, y = harness.blobs()
    wrong = [given[tuple(row)] != {float(k)} for row, k in zip(x.tolist(), y.tolist(), strict=True)]
    assert (0.25 if name == "noisy_labels" else 0.5) < sum(wrong) / 192 < 0.8


def test_inputs(broken: Broken, sound: dict[str, RunRecord]) -> None:
    def captured(record: RunRecord) -> torch.Tensor:
        assert record.folder is not None
        found = read_captured(record.folder)
        assert found is not None
        return torch.tensor(found.inputs).float()

    own = captured(sound["classifier"])
    assert captured(broken("input_scale", 100.0)).abs().max() > 50 * own.abs().max()
    assert captured(broken("constant_inputs")).std(dim=0).max() == 0
    assert captured(broken("constant_inputs", program="tokens")).std() == 0
    assert captured(broken("nan_inputs", 0.1)).isnan().any(dim=1).float().mean() < 0.3
    assert torch.isfinite(own).all()
    blown = captured(broken("input_outliers", 1e6)).abs().amax(dim=1)
    assert 0 < (blown > 1e5).float().mean() < 0.1
