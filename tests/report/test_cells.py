from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sweeper.report.tables import csv_text, safe_cell, trials_frame
from sweeper.types import Outcome
from tests.report.builders import trial


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n="])
def test_no_cell_starts_a_formula(start: str) -> None:
    cell = safe_cell(f"{start}cmd|' /C calc'!A0")
    assert cell[0] == "'"
    assert "\n" not in cell and "\r" not in cell


@pytest.mark.parametrize("text", ["", "relu", "a=b", "learning_rate=0.1", "ends with -"])
def test_ordinary_text_stays(text: str) -> None:
    assert safe_cell(text) == text


def test_long_cells_are_cut() -> None:
    assert len(safe_cell("x" * 10_000)) == 500


def test_negative_numbers_stay_numbers_and_text_is_guarded(tmp_path: Path) -> None:
    outcome = Outcome(status="program_error", error='=HYPERLINK("http://x","y"), "quoted"\nline')
    row = trial(tmp_path, {}, metric=-0.25, outcome=outcome)
    path = tmp_path / "trials.csv"
    path.write_text(csv_text(trials_frame([row], tmp_path)))
    back = pd.read_csv(path)
    assert back.loc[0, "value"] == -0.25
    assert back.loc[0, "error"] == '\'=HYPERLINK("http://x","y"), "quoted" line'


def test_a_run_outside_of_the_study_keeps_its_whole_path(tmp_path: Path) -> None:
    inside = trial(tmp_path / "study", {})
    outside = trial(tmp_path / "other", {})
    frame = trials_frame([inside, outside], tmp_path / "study")
    assert frame["folder"].tolist() == [f"runs/{inside.fix.hash}-s0", str(outside.folder)]
