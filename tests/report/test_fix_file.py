from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sweeper.report.fix_file import SCHEMA, fix_text, read_fix
from sweeper.types import FixValue, UsageError
from tests.report.builders import FACTS, program, verified


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "relu"},
        {"learning_rate": 3e-05, "optimizer": "adam"},
        {"clip_norm": {"max_norm": 1.0, "norm_type": 1.0}},
        {"batch_size": 16, "zero_grad": True},
        {"lr_schedule": {"kind": "cosine", "warmup": 0.25}},
        {"init": {"scheme": "keep", "scale": 0.1}},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_round_trip(changes: dict[str, FixValue], tmp_path: Path) -> None:
    fix = verified(tmp_path, changes)
    path = tmp_path / "fix-1.toml"
    path.write_text(fix_text(fix, program(tmp_path), FACTS, "0.1.0"))
    back = read_fix(path)
    assert back.fix == fix.fix
    assert back.fix.hash == fix.fix.hash
    assert back.facts is not None
    assert back.facts.to_dict() == FACTS.to_dict()
    assert back.facts.loaders[0].n_samples is None
    assert (back.program, back.planned_steps) == ("train", 360)
    evidence = tomllib.loads(path.read_text())["evidence"]
    assert evidence["restored"] == 5
    assert evidence["seeds"] == [1001, 1002, 1003, 1004, 1005]
    assert evidence["runs"][0] == f"runs/{fix.fix.hash}-s1001"


def test_a_file_typed_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[fix]\nactivation = 'relu'\n")
    back = read_fix(path)
    assert dict(back.fix.changes) == {"activation": "relu"}
    assert (back.program, back.facts, back.planned_steps) == ("", None, None)


def test_an_editor_may_leave_its_marks(tmp_path: Path) -> None:
    """A byte order mark and the line ends of Windows."""
    path = tmp_path / "fix-1.toml"
    path.write_text(
        fix_text(verified(tmp_path, {"activation": "relu"}), program(tmp_path), FACTS, "1")
    )
    plain = read_fix(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_fix(path) == plain


def test_odd_names_do_not_break_the_file(tmp_path: Path) -> None:
    odd = program(tmp_path)
    object.__setattr__(odd, "name", 'a"b\\c\n[fix]\x7f\x00 \ud800')
    path = tmp_path / "fix.toml"
    path.write_text(fix_text(verified(tmp_path, {"activation": "relu"}), odd, FACTS, "0.1.0"))
    assert read_fix(path).program == 'a"b\\c\n[fix]\x7f\x00 ?'


GOOD = "[fix]\nactivation = 'relu'\n"
FACTS_RULE = "what sweeper wrote there"
BAD = {
    "not TOML": ("fix = [", "must be TOML"),
    "no fix": ("schema = 1", "at least one change, got None"),
    "empty fix": ("[fix]", "at least one change"),
    "fix is a list": ("fix = [1]", "got [1]"),
    "unknown key": ("fixes = 1\n" + GOOD, "got 'fixes'"),
    "version from the future": (f"schema = {SCHEMA + 1}\n" + GOOD, "newer sweeper"),
    "version is text": ("schema = '1'\n" + GOOD, "whole number from 1 on, got '1'"),
    "version is a truth value": ("schema = true\n" + GOOD, "got True"),
    "program is a number": ("program = 3\n" + GOOD, "must be text, got 3"),
    "unknown remedy": ("[fix]\nactivatoin = 'relu'", "did you mean 'activation'"),
    "value of the wrong type": ("[fix]\nactivation = [1]", "[fix] activation must be"),
    "nested value": ("[fix]\nclip_norm = {max_norm = [1]}", "[fix] clip_norm must be"),
    "a date": ("[fix]\nactivation = 2024-01-01", "[fix] activation must be"),
    "value outside of its rule": ("[fix]\nlearning_rate = -1.0", "-1"),
    "unknown activation": ("[fix]\nactivation = 'rleu'", "rleu"),
    "damaged facts": (GOOD + "[facts]\njson='{'", FACTS_RULE),
    "facts of another kind": (GOOD + "[facts]\njson='[]'", FACTS_RULE),
    "facts without their text": (GOOD + "[facts]\nx=1", FACTS_RULE),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input_names_rule_value_and_place(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "fix.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read_fix(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_fix(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="directory"):
        read_fix(tmp_path)
    binary = tmp_path / "fix.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="must be TOML"):
        read_fix(binary)
