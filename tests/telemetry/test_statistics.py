"""Fast statistics against slow, independent ones."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sweeper.program.session import LossCall
from sweeper.telemetry import evaluation as evaluation_module
from sweeper.telemetry.activations import ActivationSampler, effective_rank, mean_cosine
from sweeper.telemetry.answers import correct_mask, mean_loss
from sweeper.telemetry.buffer import StepBuffer, ready
from sweeper.telemetry.evaluation import Evaluation
from sweeper.telemetry.layers import LayerSampler
from sweeper.telemetry.samples import SeenSamples, model_input
from sweeper.telemetry.targets import LossTargets
from sweeper.types import WatchPoint


def slow_cosine(rows: torch.Tensor) -> float:
    pairs = itertools.permutations(range(len(rows)), 2)
    return float(
        np.mean([float(torch.cosine_similarity(rows[i], rows[j], dim=0)) for i, j in pairs])
    )


def slow_erank(rows: torch.Tensor) -> float:
    values = np.linalg.svd(rows.numpy() - rows.numpy().mean(0), compute_uv=False)
    p = values[values > 1e-9] / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


@pytest.mark.parametrize("shape", [(2, 3), (9, 4), (30, 50)], ids=str)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_cosine_and_rank_match_their_slow_twins(shape: tuple[int, int], scale: float) -> None:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * scale
    assert mean_cosine(rows) == pytest.approx(slow_cosine(rows), abs=1e-5)
    assert effective_rank(rows) == pytest.approx(slow_erank(rows.double()), rel=1e-3)


def test_constant_and_non_finite_rows() -> None:
    assert effective_rank(torch.ones(8, 4)) == 1.0
    assert mean_cosine(torch.ones(8, 4)) == pytest.approx(1.0)
    bad = torch.ones(8, 4)
    bad[0, 0] = math.nan
    assert math.isnan(effective_rank(bad))
    assert math.isnan(mean_cosine(bad))
    assert math.isnan(mean_cosine(torch.ones(1, 4)))


def test_layer_norms_match_naive_ones_and_undo_the_clip() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))
    frozen = nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.randn(4, 5)).square().mean().backward()
    before = model[0].weight.detach().clone()
    sampler = LayerSampler([("a", model[0].weight), ("b", model[2].weight), ("frozen", frozen)])
    sampler.before(0.5, optimizer)
    gradient = model[0].weight.grad.norm().item()
    optimizer.step()
    row = sampler.after()
    assert row["grad_norm"][0] == pytest.approx(gradient / 0.5, rel=1e-5)
    assert math.isnan(row["grad_norm"][2])
    assert row["weight_norm"][0] == pytest.approx(before.norm().item(), rel=1e-5)
    change = model[0].weight.detach() - before
    assert row["update_norm"][0] == pytest.approx(change.norm().item(), rel=1e-5)
    assert row["update_norm"][2] == 0.0
    assert row["first_update_sum"][0] == pytest.approx(change.sum().item(), rel=1e-4)


def test_step_buffer_keeps_rows_apart_and_accumulates_within_one() -> None:
    buffer = StepBuffer()
    buffer.add("loss", torch.tensor(1.0))
    buffer.add("loss", torch.tensor(0.5))
    buffer.put(lr=0.1)
    buffer.end_step()
    buffer.put(lr=0.2)
    buffer.end_step()
    columns = buffer.drain()
    assert columns["lr"] == [0.1, 0.2]
    assert columns["loss"][0] == 1.5
    assert math.isnan(columns["loss"][1])
    assert buffer.drain() == {}


def test_a_row_keeps_the_number_that_a_tensor_had() -> None:
    loss = torch.tensor(2.0, requires_grad=True) * 3
    for where in (None, "meta"):
        kept = ready(loss if where is None else loss.detach().to(where))
        assert kept == 6.0 if where is None else kept.is_meta and not kept.requires_grad
    kept = ready(loss)
    with torch.no_grad():
        loss.zero_()
    assert (kept, ready(0.5)) == (6.0, 0.5)


def test_norms_of_layers_in_half_precision_and_with_gradients_of_rows() -> None:
    torch.manual_seed(0)
    half = nn.Parameter((torch.randn(300, 300) * 300).bfloat16())
    table = nn.Embedding(6, 3, sparse=True)
    optimizer = torch.optim.SGD([half, table.weight], lr=0.5)
    half.grad = torch.full_like(half, 2.0)
    table(torch.tensor([1, 1, 4])).sum().backward()
    before = half.detach().double()
    sampler = LayerSampler([("half", half), ("table", table.weight)])
    sampler.before(1.0, optimizer)
    optimizer.step()
    row = sampler.after()
    change = half.detach().double() - before
    assert row["grad_norm"] == pytest.approx([600.0, math.sqrt(3 * 2**2 + 3)], rel=1e-5)
    assert row["weight_norm"][0] == pytest.approx(before.norm().item(), rel=1e-4)
    # Every second of 90,000 elements is looked at.
    assert row["update_norm"][0] == pytest.approx(change.norm().item(), rel=0.02)
    assert row["first_update_sum"][0] == pytest.approx(change.sum().item(), rel=0.02)
    assert row["update_norm"][1] == pytest.approx(0.5 * math.sqrt(3 * 2**2 + 3), rel=1e-5)
    assert all(math.isnan(share) for share in row["adam_below_eps"])


@pytest.mark.parametrize("scale, share", [(1e-9, 1.0), (1.0, 0.0)])
def test_the_share_of_entries_that_adam_damps(scale: float, share: float) -> None:
    weight = nn.Parameter(torch.ones(200, 100))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.full_like(weight, scale)
    sampler = LayerSampler([("a", weight)])
    for _ in range(2):
        sampler.before(1.0, optimizer)
        optimizer.step()
        row = sampler.after()
    assert row["adam_below_eps"] == [share]


def test_fresh_samples_are_told_from_repeated_ones() -> None:
    seen = SeenSamples()
    rows = torch.randn(6, 3, 4)
    assert seen.fresh(seen.checksum(rows).numpy()).all()
    mixed = torch.cat([rows[:2], torch.randn(2, 3, 4)])
    assert seen.fresh(seen.checksum(mixed).numpy()).tolist() == [False, False, True, True]


def test_model_input_is_the_data_not_labels_or_state() -> None:
    ids, state = torch.ones(4, 9, dtype=torch.long), torch.randn(1, 4, 8)
    assert model_input((ids, (state, state)), {}) is ids
    named = {"labels": torch.ones(4), "attention_mask": torch.ones(4, 9), "input_ids": ids}
    assert model_input((), named) is ids
    bags = model_input((torch.arange(1, 6), torch.tensor([0, 2])), {})
    assert bags is not None
    assert bags.tolist() == [[1, 2, 0], [3, 4, 5]]


@pytest.mark.parametrize(
    ("function", "prediction", "target", "right"),
    [
        ("cross_entropy", [[2.0, 1.0], [0.0, 1.0]], [0, 0], [True, False]),
        ("cross_entropy", [[2.0, 1.0], [0.0, 1.0]], [0, -100], [True]),
        ("binary_cross_entropy_with_logits", [0.3, -0.2], [1.0, 1.0], [True, False]),
        ("binary_cross_entropy", [0.7, 0.2], [1.0, 0.0], [True, True]),
        ("mse_loss", [0.7], [1.0], None),
    ],
)
def test_correct_predictions(
    function: str, prediction: list[float], target: list[float], right: list[bool] | None
) -> None:
    call = LossCall(function=function, input=torch.tensor(prediction), target=torch.tensor(target))
    mask = correct_mask(call)
    assert (None if mask is None else mask.tolist()) == right


def test_summed_and_unreduced_losses_become_means() -> None:
    target = torch.zeros(4)
    for reduction, value in (("sum", torch.tensor(8.0)), ("none", torch.full((4,), 2.0))):
        options = {"reduction": reduction}
        call = LossCall(function="mse_loss", input=target, target=target, options=options)
        assert mean_loss(call, value).item() == 2.0


@pytest.mark.parametrize("how", ["argmax", "cut", "max", "reversed", "unrelated"])
def test_accuracy_is_read_from_the_programs_own_comparison(how: str) -> None:
    evaluation = Evaluation(SeenSamples())
    labels = torch.tensor([0, 1, 1, 2])
    if how == "cut":
        output, target = torch.tensor([0.2, -1.0, 3.0, 0.1]), torch.tensor([1.0, 0.0, 1.0, 0.0])
        prediction = (output > 0).float()
    else:
        output, target = torch.eye(4, 3)[[0, 1, 2, 2]], labels
        prediction = output.argmax(1) if how != "max" else output.max(1)[1]
    evaluation.output(output)
    if how == "unrelated":
        evaluation.compare(torch.ones(4), torch.ones(4))
        assert evaluation.empty
    pair = (target, prediction) if how == "reversed" else (prediction, target)
    evaluation.compare(*pair)
    assert evaluation.row()["accuracy"] == 0.75


def test_the_rare_classes_of_an_evaluation_are_counted() -> None:
    evaluation = Evaluation(SeenSamples())
    labels = torch.tensor([2, 2, 2, 2, 0, 1, 1])
    output = torch.eye(7, 3)[[0] * 7].clone()
    output[torch.arange(7), torch.tensor([2, 2, 2, 1, 0, 1, 0])] = 2.0
    evaluation.output(output)
    evaluation.compare(output.argmax(1), labels)
    row = evaluation.row()
    assert (row["rare_n"], row["rare_correct"]) == (3.0, 2.0)


@pytest.mark.parametrize("how", ["left", "right", "squeezed", "another", "shape"])
def test_errors_are_read_from_the_programs_own_difference(how: str) -> None:
    evaluation = Evaluation(SeenSamples())
    output, target = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [3.0], [5.0]])
    evaluation.output(output)
    pair = {
        "left": (output, target),
        "right": (target, output),
        "squeezed": (output.squeeze(1), target.squeeze(1)),
        "another": (output.clone(), target),
        "shape": (output, target.squeeze(1)),
    }[how]
    told = how not in ("another", "shape")
    assert evaluation.subtract(*pair) is told
    assert evaluation.empty is not told
    if told:
        assert not evaluation.subtract(*pair)  # counted once
        row = evaluation.row()
        assert row["n"] == 3 and row["skill"] == pytest.approx(1 - 2 / 8)


LOGITS = torch.tensor([[2.0, -1.0], [0.0, 1.0], [1.0, 3.0], [0.5, 0.0]])


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("classes", LOGITS.argmax(1).numpy()),
        ("classes", LOGITS.argmax(1).tolist()),
        ("scores", LOGITS.softmax(1)[:, 1]),
        ("scores", (LOGITS[:, 1] - LOGITS[:, 0]).numpy()),
        ("scores", LOGITS.softmax(1).numpy()),
    ],
)
def test_scores_of_all_outputs_of_a_phase_tell_its_labels(kind: str, given: Any) -> None:
    evaluation = Evaluation(SeenSamples())
    evaluation.output(LOGITS[:3])
    evaluation.output(LOGITS[3:])
    truth = np.array([0, 1, 0, 0])
    assert evaluation.score(kind, truth, given)
    assert not evaluation.score(kind, truth, given)  # several metrics of the same answers
    row = evaluation.row()
    assert (row["n"], row["accuracy"]) == (4.0, 0.75)
    assert (row["rare_n"], row["rare_correct"]) == (1.0, 1.0)


@pytest.mark.parametrize("made", ["logits", "sigmoid"])
def test_scores_of_a_single_output(made: str) -> None:
    evaluation = Evaluation(SeenSamples())
    logits = torch.tensor([[0.4], [-2.0], [3.0]])
    evaluation.output(logits)
    given = (logits.sigmoid() if made == "sigmoid" else logits).squeeze(1).numpy()
    assert evaluation.score("scores", [1, 0, 0], given)
    assert evaluation.row()["accuracy"] == pytest.approx(2 / 3)


def test_values_on_another_scale_are_the_outputs_too() -> None:
    evaluation = Evaluation(SeenSamples())
    output = torch.tensor([0.1, -1.0, 0.7, 2.0])
    evaluation.output(output)
    given = output.numpy() * 20 + 100
    truth = given + np.array([1.0, -1.0, 1.0, -1.0])
    assert evaluation.score("values", truth, given)
    assert evaluation.row()["skill"] == pytest.approx(1 - 1 / np.var(truth))


def test_large_outputs_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_module, "MOST_KEPT", 6)
    evaluation = Evaluation(SeenSamples())
    evaluation.output(LOGITS[:3])
    assert len(evaluation._outputs) == 1
    evaluation.output(LOGITS[3:])
    assert evaluation._outputs == []
    assert not evaluation.score("classes", [0, 1, 1, 0], LOGITS.argmax(1))


def test_arrays_that_cannot_be_written_and_odd_kinds_of_numbers() -> None:
    evaluation = Evaluation(SeenSamples())
    evaluation.output(LOGITS)
    given = LOGITS.argmax(1).numpy().astype(np.uint32)
    truth = np.array([0, 1, 0, 0], dtype=np.longdouble)
    given.flags.writeable = truth.flags.writeable = False
    assert evaluation.score("classes", truth, given)  # and no warning, which would be an error
    assert evaluation.row()["accuracy"] == 0.75


@pytest.mark.parametrize(
    ("kind", "truth", "given"),
    [
        ("classes", [0, 1, 0, 0], [1, 0, 0, 1]),  # another model's
        ("classes", ["a", "b", "a", "a"], ["a", "b", "b", "a"]),
        ("scores", [0, 1, 0, 0], [0.1, 0.9, 0.2, 0.3]),
        ("scores", [0, 1], [0.1, 0.9]),
        ("values", [0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]),
        ("values", [0.0, 1.0], None),
        ("classes", [], []),
    ],
)
def test_scores_of_something_else_say_nothing(kind: str, truth: Any, given: Any) -> None:
    evaluation = Evaluation(SeenSamples())
    assert not evaluation.score(kind, truth, given)  # nothing was put out
    evaluation.output(LOGITS)
    assert not evaluation.score(kind, truth, given)
    assert evaluation.empty


@pytest.mark.parametrize("how", ["sigmoid", "sigmoid twice", "rounded", "clamped"])
def test_predictions_of_a_single_output_are_recognised(how: str) -> None:
    evaluation = Evaluation(SeenSamples())
    output = torch.tensor([0.2, -1.3, 3.4, 0.1, 2.2, 12.0])
    if how == "sigmoid twice":
        output = output.sigmoid()
    prediction = {
        "sigmoid": lambda: (output.sigmoid() > 0.5).float(),
        "sigmoid twice": lambda: (output.sigmoid() > 0.5).float(),
        "rounded": lambda: output.round(),
        "clamped": lambda: output.round().clamp(0, 9),
    }[how]()
    target = prediction.clone()
    target[:3] = 7.0
    evaluation.output(output)
    evaluation.compare(prediction, target)
    assert evaluation.row()["accuracy"] == 0.5


def test_a_constant_is_not_the_clamped_output() -> None:
    evaluation = Evaluation(SeenSamples())
    evaluation.output(torch.tensor([-3.0, 8.0, 4.0, -6.0]))
    evaluation.compare(torch.full((4,), 4.0), torch.full((4,), 4.0))
    assert evaluation.empty


def test_dead_and_saturated_units_are_counted_per_unit() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 2)
    points = (
        WatchPoint(layer="head", hook="head", function="relu", pooled=True),
        WatchPoint(layer="gone", hook="gone", function="tanh"),
    )
    sampler = ActivationSampler(points, {"head": layer})  # the second hook does not exist
    sampler.open(lambda: False)
    rows = torch.rand(64, 4)
    rows[:, 1] = 0.0  # dead on every row
    rows[::2, 2] = 0.0  # half of the rows only: alive
    layer(rows)
    sampler.forward_done()
    columns = sampler.close()
    assert columns["dead"] == [0.25]
    assert columns["functions"] == ["pooled"]
    tanh = ActivationSampler((replace(points[0], function="tanh"),), {"head": layer})
    tanh.open(lambda: False)
    values = torch.zeros(64, 4)
    values[:, 0] = 0.99
    values[:, 3] = -0.99
    values[::10, 3] = 0.0  # 10 % of the rows not saturated: the unit is not
    layer(values)
    assert tanh.close()["saturated"] == [0.25]


@pytest.mark.parametrize(
    ("places", "counted", "task"),
    [(6, 3, "language_model"), (6, 6, "language_model"), (3, 3, "classification")],
)
def test_places_of_a_sequence_that_do_not_count_are_places(
    places: int, counted: int, task: str
) -> None:
    """Sums of digits are predicted from where the question ends; the rest is masked."""
    target = torch.arange(20 * places).reshape(20, places) % 10
    target[:, : places - counted] = -1
    summary = LossTargets("cross_entropy")
    summary.add(target.reshape(1, -1), 10, -1, 20)
    found = summary.facts()
    assert found["task"] == task
    assert sum(found["class_prior"]) == pytest.approx(1)
