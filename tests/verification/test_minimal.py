"""The smallest sufficient fix, against planted truths."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sweeper.types import Facts, Fix, FixValue
from sweeper.verification.minimal import Elimination

from .fakes import REMEDIES, trial

Truth = Callable[[Mapping[str, FixValue]], bool]


def reduce(fix: dict[str, FixValue], truth: Truth) -> tuple[Elimination, int]:
    made = Elimination(Fix(changes=fix), Facts(), REMEDIES)
    runs = 0
    while not made.done:
        wanted = made.wanted()
        assert wanted, "either done or something to run"
        for one in wanted:
            runs += 1
            good = truth(one.changes)
            made.tell(trial(one.changes, 0.9 if good else 0.0, phase="elimination"))
    return made, runs


def test_a_red_herring_is_dropped() -> None:
    made, runs = reduce(
        {"activation": "relu", "clip_norm": 1.0, "zero_grad": True},
        lambda c: "activation" in c,
    )
    assert made.fix == Fix(changes={"activation": "relu"})
    assert made.necessary() == {"activation": True}
    assert runs == 5


def test_an_interaction_keeps_both_parts() -> None:
    made, _ = reduce(
        {"activation": "relu", "clip_norm": 1.0, "zero_grad": True},
        lambda c: {"activation", "clip_norm"} <= set(c),
    )
    assert set(made.fix.changes) == {"activation", "clip_norm"}
    assert made.necessary() == {"activation": True, "clip_norm": True}


def test_numbers_move_toward_the_baseline_mildest_first() -> None:
    def truth(changes: Mapping[str, FixValue]) -> bool:
        rate = changes.get("learning_rate")
        return isinstance(rate, float) and rate <= 0.05

    made, runs = reduce({"learning_rate": 1e-3}, truth)
    assert made.fix == Fix(changes={"learning_rate": 1e-2})
    assert runs == 2


def test_what_the_study_knows_is_not_run_again() -> None:
    made = Elimination(Fix(changes={"activation": "relu", "zero_grad": True}), Facts(), REMEDIES)
    known = trial({"activation": "relu"}, 0.9)
    made.know(known.fix, known.judgement)
    assert made.wanted() == [Fix(changes={"zero_grad": True})]


def test_a_fix_that_needs_all_its_parts_stays() -> None:
    made, runs = reduce({"activation": "relu", "zero_grad": True}, lambda c: len(c) == 2)
    assert len(made.fix.changes) == 2 and runs == 2
    assert made.leave_one_out() == []
