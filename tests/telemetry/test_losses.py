"""Loss calls of a block against a slow twin that looks at one call after another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sweeper.program.session import LossCall
from sweeper.telemetry import losses as losses_module
from sweeper.telemetry.losses import LossLog, Totals
from sweeper.telemetry.samples import Bags, Batch, SeenSamples
from sweeper.telemetry.targets import Targets

Given = tuple[int, LossCall, torch.Tensor | None, bool]
"""Step, call, rows or None, first epoch."""


def call(function: str, logits: torch.Tensor, target: torch.Tensor, **options: Any) -> LossCall:
    return LossCall(function=function, input=logits, target=target, options=options)


def value_of(given: LossCall) -> torch.Tensor:
    value: torch.Tensor = getattr(F, given.function)(given.input, given.target, **given.options)
    return value


@dataclass
class Slow:
    """One call after another, one sample after another."""

    n_steps: int
    seen: set[tuple[float, ...]] = field(default_factory=set)

    def columns(self, calls: list[Given]) -> dict[str, list[float]]:
        sums: dict[str, list[float]] = {
            k: [0.0] * self.n_steps
            for k in ("n", "loss", "right", "answers", "fresh_n", "fresh_right", "fresh_loss")
        }
        for step, given, rows, first_epoch in calls:
            flags, n = self.flags(given), self.count(given)
            loss = float(value_of(given))
            sums["n"][step] += n
            sums["loss"][step] += loss * n
            if flags is not None:
                sums["right"][step] += sum(f for f in flags if f is not None)
                sums["answers"][step] += sum(f is not None for f in flags)
            fresh = self.fresh(rows, first_epoch, flags)
            if fresh:
                sums["fresh_n"][step] += fresh[0]
                sums["fresh_right"][step] += fresh[1]
                sums["fresh_loss"][step] += loss * fresh[0]
        out = {"n": sums["n"], "fresh_n": sums["fresh_n"]}
        out["task_loss"] = self.over(sums["loss"], sums["n"])
        out["fresh_loss"] = self.over(sums["fresh_loss"], sums["fresh_n"])
        if sum(sums["answers"]):
            out["accuracy"] = self.over(sums["right"], sums["answers"])
            out["fresh_correct"] = [
                r if n else math.nan
                for r, n in zip(sums["fresh_right"], sums["fresh_n"], strict=True)
            ]
        return out

    @staticmethod
    def over(above: list[float], below: list[float]) -> list[float]:
        return [a / b if b else math.nan for a, b in zip(above, below, strict=True)]

    @staticmethod
    def count(given: LossCall) -> int:
        ignored = given.options.get("ignore_index", -100)
        return sum(t != ignored for t in given.target.reshape(-1).tolist())

    @staticmethod
    def flags(given: LossCall) -> list[bool | None] | None:
        if given.function == "cross_entropy":
            ignored = given.options.get("ignore_index", -100)
            guesses = given.input.argmax(1).reshape(-1).tolist()
            pairs = zip(guesses, given.target.reshape(-1).tolist(), strict=True)
            return [None if t == ignored else g == t for g, t in pairs]
        if given.function.startswith("binary"):
            pairs = zip(given.input.reshape(-1), given.target.reshape(-1), strict=True)
            return [bool((x > 0) == (t > 0.5)) for x, t in pairs]
        return None

    def fresh(
        self, rows: torch.Tensor | None, first_epoch: bool, flags: list[bool | None] | None
    ) -> tuple[float, float] | None:
        if rows is None or (flags is not None and len(flags) % len(rows)):
            told = [f for f in flags or [] if f is not None]
            return (float(len(told)) or 1.0, float(sum(told))) if first_epoch else None
        n = right = 0
        per = len(flags) // len(rows) if flags is not None else 1
        for i, row in enumerate(rows.reshape(len(rows), -1).tolist()):
            if tuple(row) in self.seen:
                continue
            self.seen.add(tuple(row))
            mine = [f for f in flags[i * per : (i + 1) * per] if f is not None] if flags else [0]
            n += len(mine)
            right += sum(f or 0 for f in mine)
        return (float(n), float(right)) if n else None


def classes(rng: torch.Generator, step: int, n: int) -> Given:
    rows = torch.randint(0, 4, (n, 3), generator=rng).float()  # few: they come again
    target = torch.randint(0, 5, (n,), generator=rng)
    return step, call("cross_entropy", torch.randn(n, 5, generator=rng), target), rows, False


def tokens(rng: torch.Generator, step: int, n: int) -> Given:
    rows = torch.randint(0, 3, (n, 4), generator=rng)
    target = torch.randint(0, 6, (n, 4), generator=rng)
    target[torch.rand(n, 4, generator=rng) < 0.4] = -1
    target[0, 0] = 2
    logits = torch.randn(n, 6, 4, generator=rng)
    return step, call("cross_entropy", logits, target, ignore_index=-1), rows, False


def binary(rng: torch.Generator, step: int, n: int) -> Given:
    rows = torch.randint(0, 4, (n, 2), generator=rng).float()
    target = torch.randint(0, 2, (n, 1), generator=rng).float()
    logits = torch.randn(n, 1, generator=rng)
    return step, call("binary_cross_entropy_with_logits", logits, target), rows, False


def unaligned(rng: torch.Generator, step: int, n: int) -> Given:
    _, given, _, _ = classes(rng, step, n)
    return step, given, torch.ones(n + 1, 2), step % 2 == 0


def measured(rng: torch.Generator, step: int, n: int) -> Given:
    rows = torch.randint(0, 5, (n, 2), generator=rng).float()
    pair = torch.randn(2, n, generator=rng)
    return step, call("mse_loss", pair[0], pair[1]), rows, False


def log_of(calls: list[Given], seen: SeenSamples) -> LossLog:
    log = LossLog(seen, Targets())
    for step, given, rows, first_epoch in calls:
        batch = Batch(rows, seen) if rows is not None else None
        log.add(step, given, value_of(given), batch, first_epoch=first_epoch, sampled=True)
    return log


@pytest.mark.parametrize("make", [classes, tokens, binary, unaligned, measured])
@pytest.mark.parametrize("few", [None, 0, 24], ids=["copies", "at once", "some"])
def test_a_block_equals_its_slow_twin(
    make: Any, few: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if few is not None:
        monkeypatch.setattr(losses_module, "FEW", few)
    rng, seen, slow = torch.Generator().manual_seed(3), SeenSamples(), Slow(8)
    for _ in range(3):  # later blocks meet samples of earlier ones
        calls = [
            make(rng, step, 3 if step % 4 == 3 else 7)
            for step in range(8)
            for _ in range(1 + step % 2)  # accumulation
        ]
        found = log_of(calls, seen).columns(8)
        for name, expected in slow.columns(calls).items():
            column = found.get(name, [math.nan] * 8)  # left out where nothing is known
            np.testing.assert_allclose(column, expected, rtol=1e-6, err_msg=name)


def test_squared_errors_and_majority() -> None:
    seen = SeenSamples()
    pair = torch.tensor([[1.0, 2.0], [1.5, 4.0]])
    log = log_of([(0, call("mse_loss", pair[0], pair[1]), None, True)], seen)
    columns = log.columns(2)
    assert columns["r2_error"][0] == pytest.approx(4.25)
    assert math.isnan(columns["r2_error"][1])
    logits = torch.eye(4)[[0, 0, 0, 2]]
    log = log_of([(1, call("cross_entropy", logits, torch.arange(4)), None, False)], seen)
    assert log.columns(2)["majority"][1] == 0.75


@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_answers_outside_of_the_commonest_class_are_counted(shape: tuple[int, ...]) -> None:
    rare = torch.zeros(20)
    rare[:3] = 1
    logits = torch.full((20,), -1.0)
    logits[1:6] = 1.0  # two of three rare ones, three false alarms
    given = call("binary_cross_entropy_with_logits", logits.view(shape), rare.view(shape))
    columns = log_of([(0, given, None, True)], SeenSamples()).columns(1)
    assert (columns["rare_n"], columns["rare_correct"]) == ([3.0], [2.0])
    assert columns["accuracy"] == [0.8]


def test_of_classes_one_is_the_commonest_and_ignored_targets_are_of_none() -> None:
    target = torch.tensor([2] * 8 + [0, 1, -1, -1])
    guess = torch.tensor([2] * 6 + [0, 1] + [0, 0, 0, 0])
    logits = torch.eye(3)[guess]
    given = call("cross_entropy", logits, target, ignore_index=-1)
    columns = log_of([(0, given, None, True)], SeenSamples()).columns(1)
    assert (columns["rare_n"], columns["rare_correct"]) == ([2.0], [1.0])


def test_equal_classes_and_several_answers_a_sample_have_no_rare_ones() -> None:
    target = torch.arange(4)
    plain = call("cross_entropy", torch.eye(4), target)
    labels = torch.zeros(6, 3)
    several = call("binary_cross_entropy_with_logits", torch.zeros(6, 3), labels)
    for given in (plain, several):
        columns = log_of([(0, given, None, True)], SeenSamples()).columns(1)
        assert columns["n"][0] > 0
        assert not {"rare_n", "rare_correct"} & set(columns)


def test_several_losses_of_one_batch_count_once_by_the_main_one() -> None:
    seen = SeenSamples()
    rows = torch.randn(6, 2)
    both = [
        (0, call("mse_loss", torch.zeros(6), torch.ones(6)), rows, False),
        (0, call("cross_entropy", torch.eye(6, 3), torch.zeros(6, dtype=torch.long)), rows, False),
        (1, call("mse_loss", torch.zeros(6), torch.ones(6)), rows, False),
    ]
    log = log_of(both, seen)  # type: ignore[arg-type]
    columns = log.columns(2)
    assert columns["n"] == [6.0, 6.0]
    assert columns["fresh_n"] == [6.0, 0.0]
    assert columns["task_loss"][0] == pytest.approx(float(value_of(both[1][1])))
    assert columns["task_loss"][1] == 1.0
    assert math.isnan(columns["accuracy"][1]) and columns["r2_error"][0] == 6.0
    assert log.batch_sizes == [6, 6]


def test_what_belongs_to_no_step_is_dropped_and_leaves_its_samples_fresh() -> None:
    seen = SeenSamples()
    rng = torch.Generator().manual_seed(0)
    _, given, rows, _ = classes(rng, 0, 5)
    log = log_of([(3, given, rows, False)], seen)
    assert log.columns(3)["fresh_n"] == [0.0] * 3
    again = log_of([(0, given, rows, False)], seen)
    assert again.columns(1)["fresh_n"][0] > 0


def test_bags_are_told_apart_and_what_only_looks_like_bags_is_not() -> None:
    seen = SeenSamples()
    ids, starts = torch.tensor([4, 5, 6, 7, 8]), torch.tensor([0, 2])
    log = LossLog(seen, Targets())
    given = call("cross_entropy", torch.eye(2), torch.tensor([0, 0]))
    for step in range(2):
        batch = Batch(Bags(ids, starts), seen)
        log.add(step, given, value_of(given), batch, first_epoch=False, sampled=True)
    assert log.columns(2)["fresh_n"] == [2.0, 0.0]
    lengths = Batch(Bags(ids, torch.tensor([3, 2])), seen)
    log.add(0, given, value_of(given), lengths, first_epoch=True, sampled=True)
    assert log.columns(1)["fresh_n"] == [2.0]  # by the loader's epoch


def test_totals_of_a_phase() -> None:
    seen, rng = SeenSamples(), torch.Generator().manual_seed(1)
    calls = [tokens(rng, 0, 5) for _ in range(3)]
    log = log_of(calls, seen)
    slow, total = Slow(1), log.totals()
    expected = slow.columns(calls)
    assert total.n == total.answers == expected["n"][0]
    assert total.loss / total.n == pytest.approx(expected["task_loss"][0])
    assert total.right / total.answers == pytest.approx(expected["accuracy"][0])
    assert log.totals() == Totals()
    assert (total + total).n == 2 * total.n


def test_an_all_ignored_call_counts_nothing() -> None:
    given = call("cross_entropy", torch.randn(3, 4), torch.full((3,), -100))
    log = log_of([(0, given, None, True)], SeenSamples())
    columns = log.columns(1)
    assert columns["n"] == [0.0]
    assert math.isnan(columns.get("task_loss", [math.nan])[0])
    facts = Targets()
    assert "class_prior" not in facts.facts()
