"""What cured what: kept, counted by program, and never a reason to stop."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sweeper.catalogue import history_lines
from sweeper.search.history import (
    Count,
    HistoryUnavailableError,
    Tried,
    counts_of,
    place,
    recall,
    remember,
)
from sweeper.types import Cause, Symptom, UsageError

RATE, CLIP = Cause.LEARNING_RATE_TOO_HIGH, Cause.CLIP_TOO_TIGHT


def tried(remedy: str, restored: bool, verified: bool = False) -> Tried:
    return Tried(remedy=remedy, restored=restored, verified=verified)


def test_programs_are_counted_and_not_studies(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.sqlite"
    assert recall(path) == {}
    for _ in range(3):  # three nights of one program
        remember(path, "a", RATE, [Symptom.NON_FINITE], [tried("learning_rate", True, True)])
    remember(path, "b", RATE, [], [tried("learning_rate", False), tried("clip_norm", True)])
    remember(path, "b", CLIP, [], [tried("clip_norm", True)])
    assert counts_of(recall(path), RATE) == {
        "clip_norm": Count(tried=1, restored=1, verified=0),
        "learning_rate": Count(tried=2, restored=1, verified=1),
    }
    assert counts_of(recall(path), CLIP) == {"clip_norm": Count(tried=1, restored=1, verified=0)}
    assert counts_of(recall(path), None) == {}


def test_it_holds_no_names(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    remember(path, "4bb9114ab690", RATE, [Symptom.FLAT_LOSS], [tried("init", True)])
    (row,) = sqlite3.connect(path).execute("select * from cures").fetchall()
    assert row[:6] == ("4bb9114ab690", "learning_rate_too_high", "init", "flat_loss", 1, 0)


def test_a_damaged_newer_or_unwritable_file_is_said(tmp_path: Path) -> None:
    damaged, newer = tmp_path / "damaged", tmp_path / "newer"
    damaged.write_bytes(b"no database, but long enough to be looked at" * 40)
    with pytest.raises(HistoryUnavailableError, match="not a database"):
        recall(damaged)
    with sqlite3.connect(newer) as connection:
        connection.execute("pragma user_version = 7")
    with pytest.raises(HistoryUnavailableError, match="schema <= 1, got 7"):
        remember(newer, "a", RATE, [], [tried("init", True)])
    with pytest.raises(HistoryUnavailableError, match="damaged"):
        remember(damaged / "below" / "history", "a", RATE, [], [tried("init", True)])


def test_the_user_decides_where_and_whether(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPER_HISTORY", "off")
    assert place() is None
    with pytest.raises(UsageError, match="SWEEPER_HISTORY=off"):
        list(history_lines())
    monkeypatch.setenv("SWEEPER_HISTORY", str(tmp_path / "mine"))
    assert place() == tmp_path / "mine"
    assert list(history_lines())[-1] == "no study has been kept yet"
    remember(tmp_path / "mine", "a", RATE, [], [tried("learning_rate", True, True)])
    assert list(history_lines())[-1] == (
        "learning_rate_too_high: learning_rate alone restored 1 of 1 programs, "
        "in a verified fix of 1"
    )
    monkeypatch.delenv("SWEEPER_HISTORY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert place() == tmp_path / "sweeper" / "history.sqlite"
