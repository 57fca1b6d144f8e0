"""Screening order, values inside the space, stacking, limits and the campaign."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.search.campaign import Campaign
from sweeper.search.history import Count
from sweeper.search.journal import JOURNAL
from sweeper.search.screening import remedy_order, screening_order
from sweeper.search.space import Range, Space
from sweeper.search.stacking import Told, stacked
from sweeper.search.stopping import Limits
from sweeper.search.study import JointStudy
from sweeper.search.values import into_space, to_point, to_value
from sweeper.types import Cause, Diagnosis, Facts, Fix, Hypothesis, Trial, UsageError

from .fakes import NOTHING, REMEDIES, skill_of, trial


def hypothesis(cause: Cause, belief: float, *remedies: str) -> Hypothesis:
    return Hypothesis(cause=cause, belief=belief, reason="", remedies=remedies)


def test_belief_orders_remedies() -> None:
    diagnosis = Diagnosis(
        findings=(),
        hypotheses=(
            hypothesis(Cause.CLIP_TOO_TIGHT, 0.9, "clip_norm", "learning_rate"),
            hypothesis(Cause.LABEL_NOISE, 0.95, "zero_grad"),
            hypothesis(Cause.DEAD_ACTIVATION, 0.8, "activation", "absent"),
        ),
    )
    names = ["activation", "clip_norm", "learning_rate", "zero_grad"]
    assert remedy_order(diagnosis, names) == [
        "clip_norm", "activation", "learning_rate", "zero_grad",
    ]  # fmt: skip
    fixes = screening_order(Facts(), diagnosis, Space(remedies=REMEDIES))
    assert fixes == [
        Fix(changes={"clip_norm": 1.0}),
        Fix(changes={"activation": "relu"}),
        Fix(changes={"learning_rate": 1e-3}),
        Fix(changes={"activation": "gelu"}),
        Fix(changes={"zero_grad": True}),
    ]
    unnamed = screening_order(Facts(), NOTHING, Space(remedies=REMEDIES))
    assert unnamed[-1] == Fix(changes={"activation": "gelu"})


def test_what_cured_earlier_programs_moves_the_order() -> None:
    diagnosis = Diagnosis(
        findings=(),
        hypotheses=(hypothesis(Cause.CLIP_TOO_TIGHT, 0.6, "clip_norm", "learning_rate"),),
    )
    names = ["activation", "clip_norm", "learning_rate", "zero_grad"]
    assert remedy_order(diagnosis, names)[:2] == ["clip_norm", "learning_rate"]
    failed = Count(tried=5, restored=0, verified=0)
    cured = Count(tried=5, restored=5, verified=5)
    moved = remedy_order(diagnosis, names, {"clip_norm": failed, "activation": cured})
    assert moved == ["activation", "learning_rate", "clip_norm", "zero_grad"]
    once = Count(tried=1, restored=0, verified=0)
    assert remedy_order(diagnosis, names, {"clip_norm": once})[:2] == ["clip_norm", "learning_rate"]


def test_suggestions_outside_the_space_move_to_its_border() -> None:
    space = Space(
        remedies=REMEDIES,
        ranges={
            "learning_rate": {"": Range(high=1e-4)},
            "activation": {"": Range(choices=("tanh",))},
        },
    )
    fixes = screening_order(Facts(), NOTHING, space)
    assert Fix(changes={"learning_rate": 1e-4}) in fixes
    assert [f for f in fixes if "activation" in f.changes] == [Fix(changes={"activation": "tanh"})]


def test_values_and_points_are_inverse() -> None:
    dimensions = dict(REMEDIES["clip_norm"].space(Facts()))
    clip = REMEDIES["clip_norm"]
    assert to_point(clip, 1.0, dimensions) == {"max_norm": 1.0, "norm_type": 2.0}
    value = to_value(clip, {"max_norm": 1.23456, "norm_type": 1.0})
    assert value == {"max_norm": 1.23, "norm_type": 1.0}
    assert to_point(clip, value, dimensions) == value
    assert to_point(clip, 50.0, dimensions) is None
    assert into_space(clip, 50.0, dimensions) == 10.0
    assert to_point(REMEDIES["zero_grad"], True, {}) == {}


def test_stacking_combines_the_best_parts_first() -> None:
    def told(changes: dict[str, object], score: float, excess: float) -> Told:
        return Told(fix=Fix(changes=changes), score=score, excess=excess)  # type: ignore[arg-type]

    screened = [
        told({"a": 1}, 0.0, 0.5),
        told({"a": 2}, 0.1, 0.1),
        told({"b": 1}, 0.0, 0.2),
        told({"a": 2, "c": 1}, 0.3, 0.0),
    ]
    found = [set(f.changes.items()) for f in stacked(screened, 3)]
    assert found == [{("a", 2), ("c", 1), ("b", 1)}, {("a", 2), ("b", 1)}]
    assert [len(f.changes) for f in stacked(screened, 2)] == [2]


def test_limits() -> None:
    limits = Limits(trials=5, seconds=100.0, candidates=2, verified=1)
    assert limits.search_over(4, 59.0, 1) == ""
    assert "5 trials" in limits.search_over(5, 0.0, 0)
    assert "60%" in limits.search_over(0, 60.0, 0)
    assert "2 restored" in limits.search_over(0, 0.0, 2)
    assert limits.all_over(99.0, 0) == ""
    assert "spent" in limits.all_over(100.0, 0)
    assert "verified" in limits.all_over(0.0, 1)
    for bad in ({"trials": 0}, {"seconds": float("nan")}, {"search_share": 0.0}):
        with pytest.raises(UsageError):
            Limits(**bad)  # type: ignore[arg-type]


def campaign(folder: Path, limits: Limits, clock: Callable[[], float] = time.monotonic) -> Campaign:
    space = Space(remedies=REMEDIES, max_changes=2)
    dimensions, _ = space.applicable(Facts())
    study = JointStudy(
        folder / JOURNAL, dimensions=dimensions, remedies=REMEDIES, max_changes=2, seed=1
    )
    return Campaign(screening_order(Facts(), NOTHING, space), study, limits, clock=clock)


def drive(made: Campaign, most: int = 100) -> list[tuple[str, Fix]]:
    done = []
    while len(done) < most and (item := made.next_fix()) is not None:
        phase, fix = item
        done.append((phase, fix))
        made.tell(trial(fix.changes, skill_of(fix.changes), phase=phase))
    return done


def test_campaign_screens_then_searches_until_the_limit(tmp_path: Path) -> None:
    made = campaign(tmp_path, Limits(trials=12, candidates=50))
    done = drive(made)
    assert [phase for phase, _ in done] == ["screening"] * 5 + ["joint"] * 7
    assert made.stop_reason == "12 trials made"
    assert made.best_skill is not None
    best = made.restored[0].judgement
    assert best is not None and best.restored


def test_campaign_screens_every_remedy_once_even_with_candidates(tmp_path: Path) -> None:
    made = campaign(tmp_path, Limits(candidates=1))
    done = drive(made)
    assert {name for _, f in done for name in f.changes} >= {"activation", "learning_rate"}
    assert len(done) == 5 or made.stop_reason


def test_joint_waits_for_screening(tmp_path: Path) -> None:
    made = campaign(tmp_path, Limits(trials=20))
    items = [made.next_fix() for _ in range(5)]
    assert all(item is not None for item in items)
    assert made.next_fix() is None
    for item in items:
        assert item is not None
        made.tell(trial(item[1].changes, 0.0, phase=item[0]))
    again = made.next_fix()
    assert again is not None and again[0] == "joint"


def test_an_interrupted_campaign_continues(tmp_path: Path) -> None:
    limits = Limits(trials=12, candidates=50)
    whole = drive(campaign(tmp_path / "a", limits))
    drive(campaign(tmp_path / "b", limits), most=8)
    resumed = drive(campaign(tmp_path / "b", limits))
    assert len(resumed) == len(whole) == 12
    assert resumed[:8] == whole[:8]
    assert len({f.hash for _, f in resumed}) == 12


def test_a_fix_that_did_not_take_hold_is_never_restored(tmp_path: Path) -> None:
    made = campaign(tmp_path, Limits())
    good = trial({"activation": "relu"}, 0.9)
    made.tell(replace(good, not_applied={"activation": "nothing was swapped"}))
    assert made.restored == []
    assert made.best_skill is None


def test_a_candidate_that_failed_its_proof_is_enough_no_longer(tmp_path: Path) -> None:
    made = campaign(tmp_path, Limits(candidates=1, trials=12))
    good = trial({"activation": "relu"}, 0.9, phase="screening")
    made.tell(good)
    assert [t.fix for t in made.candidates] == [good.fix]
    made.disproven({good.fix.hash: replace(good, seed=1001)})
    assert made.candidates == []
    assert made.restored == [good]
    asked = drive(made)
    assert len(asked) == 12
    assert any(fix.changes.items() > good.fix.changes.items() for _, fix in asked)


def test_why_a_search_ended_is_told_of_its_last_end(tmp_path: Path) -> None:
    made = campaign(tmp_path, Limits(candidates=1, trials=12))
    good = trial({"activation": "relu"}, 0.9, phase="screening")
    made.tell(good)
    drive(made)
    assert made.stop_reason.endswith("restored candidates found")
    made.disproven({t.fix.hash: replace(t, seed=1001) for t in made.restored})
    while drive(made):
        made.disproven({t.fix.hash: replace(t, seed=1001) for t in made.restored})
    assert made.stop_reason == "12 trials made"


def test_time_for_proofs_comes_out_of_the_budget(tmp_path: Path) -> None:
    """It does not count as search, but the wall clock is the user's."""
    now = [0.0]
    made = campaign(tmp_path, Limits(seconds=100.0, candidates=50), clock=lambda: now[0])
    assert made.next_fix() is not None
    with made.paused():
        now[0] = 99.0
    assert made.next_fix() is not None
    now[0] = 100.0
    assert made.next_fix() is None
    assert made.stop_reason == "the budget of 100 s is spent"


def test_what_a_second_look_asks_for_comes_next_and_once(tmp_path: Path) -> None:
    space = Space(remedies=REMEDIES, max_changes=2)
    dimensions, _ = space.applicable(Facts())
    study = JointStudy(
        tmp_path / JOURNAL, dimensions=dimensions, remedies=REMEDIES, max_changes=2, seed=1
    )
    looked: list[Fix] = []

    def look(seen: Trial) -> list[Fix]:
        looked.append(seen.fix)
        return [Fix(changes={**seen.fix.changes, "zero_grad": True})] if len(looked) == 1 else []

    order = [Fix(changes={"activation": "relu"}), Fix(changes={"clip_norm": 1.0})]
    made = Campaign(order, study, Limits(trials=4), second_look=look)
    made.tell(trial({}, 0.0, phase="baseline"))
    asked = drive(made)
    both = Fix(changes={"activation": "relu", "zero_grad": True})
    assert [fix for _, fix in asked][:3] == [order[0], both, order[1]]
    assert looked == [order[0], both, order[1]], "screened trials alone, not the baseline"
    made.disproven({order[1].hash: trial({"activation": "relu"}, 0.0)})
    made.disproven({order[1].hash: trial({"activation": "relu"}, 0.0)})
    assert len(looked) == 4


def test_a_failed_proof_is_looked_at_once_whatever_was_left_of_the_candidate(
    tmp_path: Path,
) -> None:
    """The candidate and what elimination left of it both failed, with the same run."""
    looked: list[Trial] = []
    made = campaign(tmp_path, Limits())
    made._second_look = lambda seen: looked.append(seen) or ()  # type: ignore[func-returns-value]
    failed = trial({"activation": "relu"}, 0.0)
    whole = Fix(changes={"activation": "relu", "zero_grad": True})
    made.disproven({whole.hash: failed, failed.fix.hash: failed})
    other = Fix(changes={"activation": "relu", "clip_norm": 1.0})
    made.disproven({whole.hash: failed, failed.fix.hash: failed, other.hash: failed})
    assert looked == [failed]
