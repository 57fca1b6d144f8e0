"""The joint study: no fix twice, resume, a journal cut at every byte of its last record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from sweeper.search.journal import JOURNAL, open_journal, repair
from sweeper.search.space import Space
from sweeper.search.study import JointStudy
from sweeper.types import Facts, Fix, UsageError

from .fakes import REMEDIES, skill_of, trial


def make(
    folder: Path,
    *,
    seed: int = 1,
    most: int = 2,
    names: Sequence[str] = ("activation", "learning_rate", "clip_norm", "zero_grad"),
    again: Sequence[Fix] = (),
) -> JointStudy:
    space = Space(remedies={n: REMEDIES[n] for n in names})
    dimensions, _ = space.applicable(Facts())
    return JointStudy(
        folder / JOURNAL,
        dimensions=dimensions,
        remedies=REMEDIES,
        max_changes=most,
        seed=seed,
        again=again,
    )


def run(study: JointStudy, n: int) -> list[Fix]:
    fixes = []
    for _ in range(n):
        fix = study.ask()
        if fix is None:
            break
        fixes.append(fix)
        study.tell(trial(fix.changes, skill_of(fix.changes)))
    return fixes


def test_no_fix_is_asked_twice_and_limits_hold(tmp_path: Path) -> None:
    study = make(tmp_path)
    fixes = run(study, 40)
    assert len({f.hash for f in fixes}) == 40
    assert all(1 <= len(f.changes) <= 2 for f in fixes)
    for fix in fixes:
        for name, value in fix.changes.items():
            assert REMEDIES[name].validate(value) == value


def test_fixes_under_way_are_not_asked_again(tmp_path: Path) -> None:
    study = make(tmp_path, names=("activation", "zero_grad"))
    asked = []
    while (fix := study.ask()) is not None:
        asked.append(fix)
    # 3 activations, 1 flag, and the three pairs.
    assert len({f.hash for f in asked}) == len(asked) == 7


def test_an_empty_space_has_nothing_to_ask(tmp_path: Path) -> None:
    assert make(tmp_path, names=()).ask() is None


def test_it_finds_what_needs_two_changes(tmp_path: Path) -> None:
    study = make(tmp_path)
    for changes in ({"activation": "relu"}, {"learning_rate": 1e-3}, {"clip_norm": 1.0}):
        study.tell(trial(changes, skill_of(changes), phase="screening"))
    assert study.ask() == Fix(changes={"activation": "relu", "learning_rate": 1e-3})
    run(study, 30)
    best = max(study.told, key=lambda t: t.score)
    assert best.score > 0.7
    importance = study.importance()
    assert set(importance) == {"activation", "learning_rate", "clip_norm", "zero_grad"}
    assert max(importance, key=lambda k: importance[k]) in ("activation", "learning_rate")


def test_resume_learns_from_the_journal_and_repeats_nothing(tmp_path: Path) -> None:
    first = make(tmp_path)
    fixes = run(first, 15)
    second = make(tmp_path)
    assert [t.fix for t in second.told] == fixes
    assert second.earlier == fixes
    more = run(second, 15)
    assert len({f.hash for f in fixes + more}) == 30
    second.tell(trial(fixes[0].changes, 0.9))
    assert len(make(tmp_path).told) == 30, "a fix is told once"


def test_what_an_interrupted_driver_had_under_way_comes_first(tmp_path: Path) -> None:
    study = make(tmp_path, again=[Fix(changes={"activation": "tanh"})])
    assert study.ask() == Fix(changes={"activation": "tanh"})


def test_outcomes_become_trials_by_class(tmp_path: Path) -> None:
    study = make(tmp_path)
    study.tell(trial({"clip_norm": 1.0}, status="infrastructure"))
    study.tell(trial({"clip_norm": 2.0}, status="killed"))
    assert study.told == (), "infrastructure says nothing about a fix"
    study.tell(trial({"clip_norm": 3.0}, status="out_of_memory"))
    study.tell(trial({"clip_norm": 4.0}, status="deadline"))
    study.tell(trial({"clip_norm": 5.0}, status="program_error"))
    study.tell(trial({"clip_norm": 6.0}, status="not_applied"))
    study.tell(trial({}, 0.0, phase="baseline"))
    study.tell(trial({"activation": "relu"}, 0.9, phase="verification", seed=1001))
    states = [t.state.name for t in open_journal(tmp_path / JOURNAL, "joint").trials]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert all(t.excess > 0 for t in study.told)
    for frozen in open_journal(tmp_path / JOURNAL, "joint").trials:
        assert frozen.value is not None and frozen.value == frozen.value
        assert len(frozen.constraints) == 7


def test_another_space_is_refused_with_the_difference(tmp_path: Path) -> None:
    run(make(tmp_path), 2)
    with pytest.raises(UsageError, match=r"clip_norm.*nothing"):
        make(tmp_path, names=("activation", "learning_rate", "zero_grad"))


def test_a_journal_cut_at_any_byte_of_its_last_record_loses_one_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # a thousand cuts, no power loss
    whole = tmp_path / "whole"
    fixes = run(make(whole), 3)
    data = (whole / JOURNAL).read_bytes()
    last = data.rfind(b"\n", 0, -1) + 1
    assert json.loads(data[last:])
    for cut in range(last, len(data)):
        path = tmp_path / "cut" / JOURNAL
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data[:cut])
        assert repair(path) == cut - last
        assert path.read_bytes() == data[:last]
    for cut in (last, last + 1, (last + len(data)) // 2, len(data) - 1):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / JOURNAL).write_bytes(data[:cut])
        study = make(folder)
        assert [t.fix for t in study.told] == fixes[:2]
        study.tell(trial(fixes[2].changes, 0.1))
        assert [t.fix for t in make(folder).told] == fixes


def test_a_torn_first_record_leaves_an_empty_study(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b'{"op_code":0,"work')
    assert make(tmp_path).told == ()


def test_a_stale_lock_file_does_not_hold_up(tmp_path: Path) -> None:
    run(make(tmp_path), 1)
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)
    assert len(make(tmp_path).told) == 1


def test_a_file_that_is_no_journal_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text('{"hello": 1}\n')
    with pytest.raises(UsageError, match="study journal"):
        make(tmp_path)


def test_the_same_seed_asks_the_same(tmp_path: Path) -> None:
    assert run(make(tmp_path / "a"), 12) == run(make(tmp_path / "b"), 12)
    shutil.rmtree(tmp_path / "b")
    assert run(make(tmp_path / "b", seed=2), 12) != run(make(tmp_path / "c", seed=1), 12)
