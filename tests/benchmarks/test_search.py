"""The benchmark of the search: what is billed, what the peers see and ask, what is counted."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweeper.search.space import load_space
from sweeper.types import Facts, Fix, OptimizerFact, Outcome, RunRecord, Trial, UsageError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def parts() -> Iterator[None]:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def trial(name: str, steps: int) -> Trial:
    return Trial(
        number=0, phase="joint", fix=Fix(), seed=0, outcome=Outcome(status="finished", steps=steps),
        judgement=None, folder=Path(name),
    )  # fmt: skip


def test_every_run_is_paid_once_and_a_pruned_one_in_part() -> None:
    from search_parts.bench import Bill

    bill = Bill(limit=500)
    bill.pay(trial("a", 300), 3.0)
    bill.pay(trial("a", 300), 3.0)
    bill.pay(trial("b", 90), 0.9, share=1 / 3)
    assert (bill.steps, bill.runs, bill.over()) == (330, 2, "")
    bill.pay(trial("b", 90), 0.9)
    bill.pay(trial("b", 90), 0.9, share=1 / 9)
    assert (bill.steps, bill.runs) == (390, 2)
    assert bill.seconds == pytest.approx(3.9)
    bill.pay(trial("c", 110), 1.0)
    assert bill.over()


def test_a_pruner_sees_the_run_as_it_stood() -> None:
    from search_parts.peers import CHECKS, curve, first_steps

    n = 360
    accuracy = np.where(np.arange(n) < n // 2, 0.5, 0.95)
    steps = {
        "loss": np.full(n, 0.7), "task_loss": np.full(n, 0.7), "accuracy": accuracy,
        "n": np.full(n, 32.0), "fresh_n": np.zeros(n), "fresh_correct": np.zeros(n),
    }  # fmt: skip
    record = RunRecord(
        folder=None, fix=Fix(), seed=0, max_steps=None, layers=None, activations=None, evals=None,
        outcome=Outcome(status="finished", steps=n), steps=steps,
        facts=Facts(steps=n, task="classification", n_classes=2, class_prior=(0.5, 0.5)),
    )  # fmt: skip
    assert len(first_steps(record, 100).series("loss")) == 100
    values = curve(record)
    assert len(values) == CHECKS and all(math.isfinite(v) for v in values)
    assert abs(values[2]) < 0.01 and values[-1] == pytest.approx(0.9)


def test_the_fixed_order_begins_with_what_its_rules_find(monkeypatch: pytest.MonkeyPatch) -> None:
    from search_parts import peers

    monkeypatch.setattr(peers, "autotrainer", lambda record: ["unstable"])
    sgd = OptimizerFact(
        name="SGD", first_lr=(0.1,), peak_lr=(0.1,), last_lr=(0.1,), weight_decay=0.0, momentum=0.0,
        n_parameters=10, n_frozen=0, n_without_grad=0, n_missing=0,
    )  # fmt: skip
    facts = Facts(batch_size=32, optimizers=(sgd,))
    case: Any = SimpleNamespace(baseline=SimpleNamespace(facts=facts, record=None))
    order = peers.AutoTrainer(case, load_space())
    asked = list(iter(order.ask, None))
    assert [set(fix.changes) for fix in asked[:2]] == [{"optimizer"}, {"learning_rate"}]
    assert asked[1].changes["learning_rate"] == pytest.approx(0.01)
    assert len({fix.hash for fix in asked}) == len(asked) > 5


def results(ours: list[int], peer: list[int], found: bool) -> dict[tuple[str, str, int], Any]:
    from search_parts.methods import METHODS, OURS

    return {
        ("p", m, s): {
            "winner": {"zero_grad": True} if m == OURS or found else None, "superfluous": 0,
            "steps": (ours if m == OURS else peer)[s], "seconds": 1.0, "runs": 7, "length": 100,
        }
        for m in METHODS for s in range(3)
    }  # fmt: skip


def test_the_ratio_is_to_the_best_peer_that_fixed_the_program() -> None:
    from search_parts.page import page, ratio

    told = results([700, 700, 800], [2800, 1400, 2100], found=True)
    assert ratio("p", told, 3) == pytest.approx(1 / 3)
    text = page(["p"], told, 3, 40, "command", unfinished=False)
    assert "at most one third in 1 of 1" in text and "not by sweeper: none" in text
    unfixed = results([700, 700, 800], [4000, 4000, 4000], found=False)
    assert math.isnan(ratio("p", unfixed, 3))
    text = page(["p"], unfixed, 3, 40, "command", unfinished=True)
    assert ">= 4000" in text and "still to be measured" in text


def test_cases_of_a_folder(tmp_path: Path) -> None:
    from search_parts.cases import of_folder, shipped

    with pytest.raises(UsageError, match="programs"):
        of_folder(tmp_path)
    for name in ("good", "bad"):
        (tmp_path / f"{name}.py").write_text("")
    assert [name for name, _, _ in of_folder(tmp_path)] == ["bad", "good"]
    (tmp_path / "cases.toml").write_text(
        '[[case]]\nid = "good"\nfile = "good.py"\nkind = "healthy"\n'
        '[[case]]\nid = "bad"\nfile = "bad.py"\nkind = "failing"\n'
    )
    assert [name for name, _, _ in of_folder(tmp_path)] == ["bad"]
    assert all(path.is_file() for _, path, _ in shipped())
