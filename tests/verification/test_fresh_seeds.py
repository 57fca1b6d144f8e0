"""Fresh seeds beside controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from sweeper.types import Fix, FixValue, Trial, UsageError
from sweeper.verification.fresh_seeds import Rule, Verification, flaky, held_against

from .fakes import trial


def fresh(skill: float, seed: int, changes: Mapping[str, FixValue] | None = None) -> Trial:
    return trial(changes or {}, skill, seed=seed, phase="verification")


@pytest.mark.parametrize(("seeds", "needed"), [(1, 1), (3, 3), (5, 4), (10, 8), (20, 16)])
def test_four_of_five(seeds: int, needed: int) -> None:
    assert Rule(seeds=seeds).needed == needed


def test_seeds_outside_the_rule() -> None:
    with pytest.raises(UsageError, match="got 0"):
        Rule(seeds=0)


def test_two_failures_of_five_end_it() -> None:
    fix = Fix(changes={"activation": "relu"})
    made = Verification(fix, Rule(), {})
    for seed, skill in ((1001, 0.9), (1002, 0.0), (1003, 0.9)):
        made.tell(fresh(skill, seed, fix.changes))
    assert not made.done and made.wanted() == [(fix, 1004), (fix, 1005)]
    made.tell(fresh(0.0, 1004, fix.changes))
    assert made.lost and made.done and made.wanted() == []
    result = made.result()
    assert not result.verified and (result.restored, result.seeds) == (2, 4)


def test_evidence_of_a_verified_fix() -> None:
    fix = Fix(changes={"activation": "relu"})
    controls: dict[int, Trial] = {}
    made = Verification(fix, Rule(), controls)
    for i, seed in enumerate(Rule().fresh):
        made.tell(fresh(0.9 + i / 100, seed, fix.changes))
    assert made.verified
    assert made.wanted() == [(Fix(), seed) for seed in Rule().fresh]
    for seed in Rule().fresh:
        controls[seed] = fresh(0.1, seed)
    assert made.wanted() == []
    result = made.result({"activation": True})
    assert result.verified and (result.restored, result.seeds) == (5, 5)
    assert result.wilson.low == pytest.approx(0.5655, abs=1e-4)
    assert result.metric.value == pytest.approx(0.92)
    assert result.baseline_metric == pytest.approx(0.1)
    assert result.paired_difference.value == pytest.approx(0.82)
    assert result.paired_difference.low >= 0.8
    assert result.necessary == {"activation": True}
    assert flaky(list(controls.values())) == 0.0


def test_a_program_that_always_learns_a_little_is_not_lucky() -> None:
    slow = [fresh(0.6, seed) for seed in (1, 2)]
    assert flaky(slow) == 1.0
    assert flaky([held_against(t, 0.9) for t in slow]) == 0.0
    lucky = [fresh(0.85, 1), fresh(0.6, 2)]
    assert flaky([held_against(t, 0.9) for t in lucky]) == 0.5


def test_the_best_of_the_horizon_is_held_against_a_fix() -> None:
    fix = Fix(changes={"activation": "relu"})
    made = Verification(fix, Rule(), {})
    for seed in Rule().fresh:
        made.tell(fresh(0.6, seed, fix.changes))
    assert made.verified
    made.rejudge(0.9)
    assert not made.verified and made.result().restored == 0
    made.rejudge(0.6)
    assert made.verified


def test_runs_that_were_not_applied_do_not_count() -> None:
    fix = Fix(changes={"activation": "relu"})
    made = Verification(fix, Rule(), {})
    for seed in (1001, 1002):
        made.tell(replace(fresh(0.9, seed, fix.changes), not_applied={"activation": "no site"}))
    assert made.lost
