from __future__ import annotations

import json
import math
import os
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeper.report import files
from sweeper.report._atomic import write_atomically
from sweeper.report.commands import run_command
from sweeper.report.files import verdict_text, write_report
from sweeper.report.fix_file import read_fix
from sweeper.types import Diagnosis, Finding, Symptom, UsageError
from tests.report.builders import study_result

SCHEMA = {
    "schema": int,
    "verdict": str,
    "program": dict,
    "facts": dict,
    "findings": list,
    "causes": list,
    "fixes": list,
    "remedies": list,
    "not_applicable": list,
    "cost": dict,
}
ROWS = {
    "findings": {"symptom", "severity", "reason", "steps", "layers", "evidence"},
    "causes": {"cause", "belief", "curable", "reason"},
    "fixes": {
        "rank",
        "fix",
        "verified",
        "restored",
        "seeds",
        "wilson_low",
        "metric",
        "changes",
        "fix_file",
    },
    "remedies": {"remedy", "alone", "necessary_in", "reason"},
    "not_applicable": {"remedy", "reason"},
}


def test_verdict_holds_the_published_schema(tmp_path: Path) -> None:
    folder = write_report(study_result(tmp_path), tmp_path)
    data = json.loads((folder / "verdict.json").read_text())
    for key, kind in SCHEMA.items():
        assert isinstance(data[key], kind), key
    for key, columns in ROWS.items():
        assert data[key], key
        for row in data[key]:
            assert columns <= set(row), key
    assert data["schema"] == 1
    assert {"runs", "training_steps", "wall_seconds"} <= set(data["cost"])
    first = data["fixes"][0]
    assert first["rank"] == 1
    assert first["fix"] == {"normalisation": "batch"}
    assert first["fix_file"] == "report/fix-1.toml"
    assert set(first["metric"]) == {"name", "baseline", "median", "low", "high"}
    assert read_fix(tmp_path / first["fix_file"]).fix.changes == first["fix"]
    assert [f["verified"] for f in data["fixes"]] == [True, True, False]
    assert data["fixes"][2]["fix_file"] is None
    assert data["findings"][0]["evidence"]["threshold"] == "Infinity"


def test_every_run_of_a_fix_is_named(tmp_path: Path) -> None:
    result = study_result(tmp_path)
    fixes = json.loads(verdict_text(result))["fixes"]
    folders = {f"runs/{t.folder.name}" for f in result.fixes for t in f.trials}
    assert {run for fix in fixes for run in fix["runs"]} == folders


def test_evidence_may_hold_numpy_and_what_is_not_finite(tmp_path: Path) -> None:
    finding = Finding(
        symptom=Symptom.NON_FINITE,
        severity=1.0,
        reason="NaN",
        steps=(1, 2),
        evidence={
            "value": np.float32(math.nan),
            "layers": np.arange(2),
            "path": Path("x"),
            "n": np.int64(3),
        },
    )
    result = study_result(tmp_path, diagnosis=Diagnosis(findings=(finding,), hypotheses=()))
    evidence = json.loads(verdict_text(result))["findings"][0]["evidence"]
    assert evidence == {"value": "NaN", "layers": [0, 1], "path": "x", "n": 3}


def test_writing_twice_gives_the_same_bytes_and_drops_stale_fix_files(tmp_path: Path) -> None:
    result = study_result(tmp_path)
    folder = write_report(result, tmp_path)
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert {"fix-1.toml", "fix-2.toml"} <= set(first)
    assert "fix-3.toml" not in first
    write_report(result, tmp_path)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == first
    write_report(study_result(tmp_path, verdict="not_fixable", fixes=()), tmp_path)
    assert not list(folder.glob("fix-*.toml"))


def test_a_failed_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verdict.json"
    write_atomically(path, "old")

    def fail(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["verdict.json"]


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file is in the way")
    with pytest.raises(UsageError, match="must be written to"):
        files.write_report(study_result(tmp_path), tmp_path)


def test_markdown_says_verdict_fixes_remedies_and_how_to_apply(tmp_path: Path) -> None:
    folder = write_report(study_result(tmp_path), tmp_path)
    ranking = (folder / "ranking.md").read_text()
    assert ranking.startswith("# train: fixed\n")
    assert (
        "| 1 | normalisation=batch | yes | 5/5 | 0.57 | accuracy | 0.1 | 0.955 (0.945 to 0.965) |"
        in ranking
    )
    assert "sweeper run --fix report/fix-1.toml train.py" in ranking
    assert "| batch_size | not applicable |" in ranking
    report = (folder / "report.md").read_text()
    assert ranking in report
    assert "loss stays at 2.303 \\| ln 10" in report
    assert "7,200 training steps" in report


def test_the_command_to_apply_is_quoted_for_the_shell(tmp_path: Path) -> None:
    result = study_result(tmp_path)
    odd = replace(result.program, argv=("--name", "a b; rm -rf x", "$HOME"))
    command = run_command(replace(result, program=odd), tmp_path / "my study")
    assert shlex.split(command) == [
        "sweeper",
        "run",
        "--fix",
        "my study/report/fix-1.toml",
        "train.py",
        *odd.argv,
    ]
