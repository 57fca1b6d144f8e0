from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.report.archive import read_result, result_text
from sweeper.report.files import write_report
from sweeper.types import UsageError
from tests.report.builders import study_result, with_runs


def test_a_result_is_read_back_whole(tmp_path: Path) -> None:
    result = study_result(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(result_text(result, tmp_path))
    again = read_result(path, tmp_path)
    assert again.trials[0].judgement is not None
    assert math.isnan(again.trials[0].judgement.metric)
    assert again.diagnosis.findings[0].evidence == {"value": 2.303, "threshold": math.inf}
    assert again.trials[1:] == result.trials[1:]
    assert again.fixes == result.fixes
    for name in ("verdict", "program", "remedies", "importance", "cost", "seeds", "notes"):
        assert getattr(again, name) == getattr(result, name), name
    assert again.facts.to_dict() == result.facts.to_dict()
    assert result_text(again, tmp_path) == path.read_text()


def test_a_study_may_be_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    folder = write_report(with_runs(study_result(old)), old)
    pages = (folder / "report.html").read_text()
    old.rename(new)
    again = read_result(new / "report" / "result.json", new)
    assert all(t.folder.parent == new / "runs" for t in again.trials)
    again = replace(again, program=replace(again.program, path=new / "train.py", cwd=new))
    expected = pages.replace(str(old), str(new)).replace("old/train.py", "new/train.py")
    assert (write_report(again, new) / "report.html").read_text() == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must hold what sweeper wrote"),
        ("[]", "must hold what sweeper wrote"),
        ('{"schema": 1}', "result"),
        ('{"schema": 1, "result": {"verdict": "fixed"}}', "verdict_reason"),
        ('{"schema": 2, "result": {}}', "newer sweeper"),
    ],
)
def test_a_damaged_result_is_one_message(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_result(path, tmp_path)


def test_unknown_keys_of_later_versions_are_left_out(tmp_path: Path) -> None:
    data = json.loads(result_text(study_result(tmp_path), tmp_path))
    data["result"]["mood"] = "good"
    data["result"]["trials"][0]["colour"] = "blue"
    path = tmp_path / "result.json"
    path.write_text(json.dumps(data))
    assert read_result(path, tmp_path).verdict == "fixed"
