from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sweeper.report.files import write_report
from sweeper.report.tables import SCHEMAS, rank
from sweeper.types import Interval
from tests.report.builders import study_result, verified

GOLDEN = Path(__file__).parent / "golden"


def test_csv_files_are_byte_for_byte_what_other_programs_read(tmp_path: Path) -> None:
    folder = write_report(study_result(tmp_path), tmp_path)
    for name in SCHEMAS:
        expected = (GOLDEN / f"{name}.csv").read_text()
        assert (folder / f"{name}.csv").read_text() == expected, name


def test_schema_names_the_columns_of_each_file(tmp_path: Path) -> None:
    folder = write_report(study_result(tmp_path), tmp_path)
    for name, columns in SCHEMAS.items():
        assert list(pd.read_csv(folder / f"{name}.csv").columns) == list(columns)


def test_an_empty_study_writes_headers_alone(tmp_path: Path) -> None:
    result = study_result(
        tmp_path, verdict="healthy", fixes=(), trials=(), remedies=(), not_applicable={}
    )
    folder = write_report(result, tmp_path)
    for name, columns in SCHEMAS.items():
        assert (folder / f"{name}.csv").read_text() == ",".join(columns) + "\n"


def test_rank_verified_bound_changes_metric_cost(tmp_path: Path) -> None:
    unproven = verified(
        tmp_path, {"init": "kaiming"}, wilson_low=0.9, is_verified=False, seeds=3, restored=3
    )
    weaker = verified(tmp_path, {"activation": "relu"}, wilson_low=0.3756, restored=4, metric=0.99)
    bigger = verified(tmp_path, {"activation": "relu", "learning_rate": 0.1}, metric=0.99)
    worse = verified(tmp_path, {"normalisation": "batch"}, metric=0.90)
    dearer = verified(tmp_path, {"normalisation": "layer"}, metric=0.95, steps=720)
    best = verified(tmp_path, {"init": "xavier"}, metric=0.95, steps=360)
    wanted = [best, dearer, worse, bigger, weaker, unproven]
    for order in itertools.permutations(wanted):
        assert rank(order) == wanted


def test_rank_takes_the_smaller_loss(tmp_path: Path) -> None:
    high = verified(tmp_path, {"clip_norm": 1.0}, metric=2.0, name="loss")
    low = verified(tmp_path, {"learning_rate": 0.001}, metric=1.5, name="loss")
    unknown = verified(tmp_path, {"init": "kaiming"}, metric=float("nan"), name="loss")
    assert rank([unknown, high, low]) == [low, high, unknown]


def test_repair_of_the_fault_comes_before_its_mask_and_low_end_before_median(
    tmp_path: Path,
) -> None:
    mask = verified(tmp_path, {"clip_norm": 1.0}, metric=0.97)
    repair = replace(
        verified(tmp_path, {"zero_grad": True}, metric=0.93), repairs="missing_zero_grad"
    )
    assert rank([mask, repair]) == [repair, mask]
    steady = verified(tmp_path, {"init": "kaiming"}, metric=0.93)
    lucky = replace(
        verified(tmp_path, {"activation": "gelu"}, metric=0.95),
        metric=Interval(value=0.95, low=0.8, high=0.97),
    )
    assert rank([lucky, steady]) == [steady, lucky]
