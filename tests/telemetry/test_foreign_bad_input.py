"""Bad logs: one clear message, or clean handling that is told."""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sweeper.telemetry.foreign import read_log
from sweeper.telemetry.foreign.numbers import clean_name, from_json, parse
from sweeper.types import UsageError
from tests.telemetry.foreign_logs import check, critical, csv_text, falling, read, write

LOSS = falling(60)
SOUND = csv_text({"step": range(60), "loss": LOSS})

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "empty.csv": ("", "an empty file"),
    "blank.csv": (" \n\n\t\n", "nothing but blanks"),
    "header.csv": ("step,loss\n", "rows of numbers below its header"),
    "comments.csv": ("# a\n# b\n", "comments only"),
    "text.csv": ("once upon\na time\nthere was\n", "must have a loss"),
    "binary.csv": (bytes(range(256)) * 40, "binary data"),
    "packed.csv": (b"\x1f\x8b\x08\x00" + bytes(50), "gzip"),
    "archive.csv": (b"PK\x03\x04" + bytes(50), "zip"),
    "model.csv": (b"\x80\x05\x95" + bytes(50), "pickle"),
    "run-1.wandb": (b":W&B" + bytes(50), "history of numbers"),
    "wide.csv": ("step,loss\n" + "1,2,3,4\n" * 9, r"the 2 cells of the header.*wide.csv:2"),
    "many.csv": (",".join(f"c{i}" for i in range(20_001)) + "\n1\n", "20,000 columns"),
    "long.csv": ("step,loss\n1," + "9" * (2 << 20), r"1,048,576 characters.*long.csv:2"),
    "quote.csv": ('step,loss\n1,"' + "2\n" * (1 << 20), "field larger"),
    "words.csv": ("step,loss\n" + "1,high\n2,low\n3,mid\n", "must have a loss"),
    "short.csv": ("step,loss\n1,2\n2,1\n", "3 or more rows"),
    "deep.json": ("[" * 100_000 + "]" * 100_000, "thousands deep"),
    "deep.jsonl": ('{"loss": 1}\n' + '{"a":' * 100_000 + "1" + "}" * 100_000, "deep.*line 2"),
    "open.json": ('{"loss": [1, 2,', "must be JSON"),
    "number.json": ("{}", "entries"),
    "nothing.json": ("[]", "objects with numbers"),
    "summary.json": ('{"loss": 0.5}', "entries"),
    "book.ipynb": ('{"cells": []}', "lists of numbers"),
    "state.json": ('{"log_history": []}', "objects with numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_rule_and_place(name: str, tmp_path: Path) -> None:
    content, rule = REFUSED[name]
    with pytest.raises(UsageError, match=f"(?s){rule}") as refused:
        check(write(tmp_path / name, content))
    assert name in str(refused.value)
    assert len(str(refused.value)) < 600


def test_paths_that_are_no_logs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without any"):
        read_log(tmp_path)
    write(tmp_path / "a.csv", SOUND)
    write(tmp_path / "b.csv", SOUND)
    with pytest.raises(UsageError, match=r"name one \(a.csv, b.csv\)"):
        read_log(tmp_path)
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="regular file"):
        read_log(pipe)


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside/trainer_state.json", '{"log_history": []}')
    folder = tmp_path / "logs"
    write(folder / "metrics.csv", SOUND)
    (folder / "trainer_state.json").symlink_to(tmp_path / "outside/trainer_state.json")
    (folder / "loop").symlink_to(folder)
    assert read(folder).points["loss"] == 60


HANDLED: dict[str, tuple[str | bytes, int, str]] = {
    "torn.csv": (SOUND[: SOUND.rindex(",")], 59, "torn last row is left out"),
    "zeros.csv": (SOUND.encode() + bytes(4096), 60, "another number of cells"),
    "ragged.csv": (SOUND.replace("\n7,", "\n7,1,1,1,1,"), 60, "the first in line 9"),
    "trailing.csv": (SOUND.replace("\n", ",\n"), 60, ""),
    "torn.jsonl": ("\n".join(f'{{"loss": {v}}}' for v in LOSS)[:-4], 59, "cut off"),
    "bad.jsonl": ("\n".join(f'{{"loss": {v}' + "}" * (i != 9) for i, v in enumerate(LOSS)), 59,
                  "the first is line 10"),
    "torn.json": (json.dumps([{"loss": v} for v in LOSS])[:-9], 59, "cut off behind entry 59"),
    "formula.csv": (SOUND.replace("\n9,", "\n9,=1+").replace("step,", "step,"), 59, "line 11"),
    "words.csv": (SOUND.replace("\n30,", "\n30,n/a #"), 59, "no numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDLED)
def test_handled_and_told(name: str, tmp_path: Path) -> None:
    content, points, note = HANDLED[name]
    run = read(write(tmp_path / name, content))
    assert run.points["loss"] == points
    assert any(note in n for n in run.notes) if note else not run.notes


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("nan", math.nan), ("NaN", math.nan), ("-nan", math.nan), ("nan(ind)", math.nan),
        ("1.#QNAN", math.nan), ("-1.#IND", math.nan), ("inf", math.inf), ("-Infinity", -math.inf),
        ("1.#INF", math.inf), ("+Inf", math.inf), ("\u221e", math.inf), ("1e999", math.inf),
        ("tensor(0.5)", 0.5), ("tensor(nan, grad_fn=<X>)", math.nan), ("np.float64(2.5)", 2.5),
        ("array([3.])", 3.0), ("93.5%", 93.5), (" 2 ", 2.0), ("1D-3", 1e-3), ("1,234.5", 1234.5),
        ("'0.5'", 0.5),
    ],
)  # fmt: skip
def test_numbers_in_any_spelling(cell: str, value: float) -> None:
    assert parse(cell) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("cell", ["", "-", "N/A", "=1+1", "1_000", "0x10", "a" * 10_000, "1 2"])
def test_cells_that_are_no_numbers(cell: str) -> None:
    assert parse(cell) is None


def test_decimal_comma_only_where_the_file_has_it() -> None:
    assert parse("0,5", decimal_comma=True) == 0.5
    assert parse("1.234,5", decimal_comma=True) == 1234.5
    assert parse("0,5") is None


def test_json_values() -> None:
    assert from_json(10**400) == math.inf
    assert from_json(True) is None
    assert from_json(None) is None
    assert from_json([2.5]) == 2.5
    assert from_json("NaN") == pytest.approx(math.nan, nan_ok=True)
    assert from_json({"a": 1}) is None


@pytest.mark.parametrize("spelled", ["nan", "-1.#IND", "", "NaN", "inf"])
def test_nan_to_the_end_in_any_spelling(spelled: str, tmp_path: Path) -> None:
    cells = [str(v) for v in LOSS[:40]] + [spelled] * 20
    text = csv_text({"step": range(60), "loss": cells, "lr": [0.1] * 60})
    result = check(write(tmp_path / "a.csv", text))
    assert critical(result) == {"non_finite"}
    assert result.diagnosis.findings[0].steps == (40, 59)


def test_last_row_of_another_kind_is_no_nan(tmp_path: Path) -> None:
    rows = [f"{i},{v}," for i, v in enumerate(LOSS)] + ["60,,0.4", "60,,0.4", "60,,0.4"]
    path = write(tmp_path / "a.csv", "step,loss,test_loss\n" + "\n".join(rows))
    assert check(path).verdict == "healthy"


def test_zero_losses_are_nan_only_where_a_filter_wrote_them(tmp_path: Path) -> None:
    def state(name: str, losses: list[float], **more: float) -> Path:
        rows = [{"step": i, "loss": v, **more} for i, v in enumerate(losses)]
        return write(tmp_path / name / "trainer_state.json", json.dumps({"log_history": rows}))

    sudden = [float(v) for v in LOSS[:10]] + [0.0] * 50
    learned = [2.0 * 0.7**i for i in range(40)] + [0.0] * 20
    assert critical(check(state("a", sudden))) == {"non_finite"}
    assert critical(check(state("b", [0.0] * 60))) == {"non_finite"}
    assert check(state("c", learned)).verdict == "healthy"
    assert check(state("d", sudden, grad_norm=0.0)).verdict == "healthy"
    hinge = write(tmp_path / "e.csv", csv_text({"step": range(60), "loss": sudden}))
    assert check(hinge).verdict == "healthy"


def test_names_cannot_harm(tmp_path: Path) -> None:
    name = "<script>x</script> [red]loss[/red] \x1b[31m\u202eloss"
    text = csv_text({"step": range(60), name: LOSS, "l" * 10_000: LOSS})
    result = check(write(tmp_path / "a.csv", text))
    shown = result.log["columns"]["loss"]
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown) <= 80
    assert all(len(n) <= 80 for n in result.log["not_read"])
    assert clean_name("a\nb\tc" + "d" * 500).startswith("a b cd")


def test_huge_numbers(tmp_path: Path) -> None:
    text = csv_text({"step": range(60), "loss": ["1e308"] * 60})
    assert critical(check(write(tmp_path / "a.csv", text))) == {"non_finite"}
    digits = "\n".join(f'{{"step": {i}, "loss": {"9" * 5000}}}' for i in range(60))
    assert critical(check(write(tmp_path / "b.jsonl", digits))) == {"non_finite"}
    text = csv_text({"step": ["1e300"] * 30 + ["2e300"] * 30, "loss": LOSS})
    assert check(write(tmp_path / "c.csv", text)).verdict == "healthy"


def test_many_columns_and_runs_are_bounded(tmp_path: Path) -> None:
    wide = {"step": range(60), **{f"loss_{i}": LOSS for i in range(300)}}
    run = read(write(tmp_path / "a.csv", csv_text(wide)))
    assert any("further columns" in note for note in run.notes)
    rows = "\n".join(f"r{i},{i},{v}" for i, v in enumerate(falling(500)))
    assert check(write(tmp_path / "b.csv", "run,step,loss\n" + rows)).verdict == "healthy"


def _survives(name: str, content: bytes) -> None:
    """A result or a clear refusal, whatever the bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, name), content)
        try:
            result = check(path)
        except UsageError as refusal:
            assert str(refusal)
        else:
            assert result.verdict in ("healthy", "failing")


CELL = st.one_of(
    st.floats().map(str), st.integers(-5, 10**20).map(str), st.sampled_from(
        ["", "nan", "inf", "x", '"', "=A1", "0,5", "1e400", "train", "val", "-1.#IND"]
    ),
)  # fmt: skip
NAME = st.sampled_from(
    ["loss", "step", "epoch", "acc", "val_loss", "val_acc", "lr", "grad_norm", "run", "phase",
     "metric", "value", "", "Loss_D", "Loss_G", "ppl", "top1_err", "a,b", "time"]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    header=st.lists(NAME, min_size=1, max_size=6),
    rows=st.lists(st.lists(CELL, min_size=0, max_size=7), max_size=80),
    delimiter=st.sampled_from([",", ";", "\t", " "]),
)
def test_any_table_is_read_or_refused(
    header: list[str], rows: list[list[str]], delimiter: str
) -> None:
    text = "\n".join(delimiter.join(row) for row in [header, *rows])
    _survives("a.csv", text.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=60, deadline=None)
@given(entries=st.lists(JSON, max_size=30), lines=st.booleans())
def test_any_json_is_read_or_refused(entries: list[object], lines: bool) -> None:
    text = "\n".join(map(json.dumps, entries)) if lines else json.dumps(entries)
    _survives("a.json", text.encode())


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=400),
    name=st.sampled_from(["a.csv", "b.json", "c.tfevents.1", "d.wandb"]),
)
@example(content=b'{"log_history": [', name="b.json")
@example(content=b"[[[", name="b.json")
@example(content=b"\xff\xfe", name="a.csv")
@example(content=b'"', name="a.csv")
@example(content=b":W&B\xe1\xbe\x00" + b"\xff" * 40, name="d.wandb")
def test_any_bytes_are_read_or_refused(content: bytes, name: str) -> None:
    _survives(name, content)


def test_nothing_of_numpy_warns_on_strange_courses(tmp_path: Path) -> None:
    for i, course in enumerate(
        ([0.0] * 60, [-5.0] * 60, [1e-300] * 60, [float("nan")] * 60, list(np.linspace(-1, 1, 60)))
    ):
        text = csv_text({"step": range(60), "loss": course, "acc": [0.0] * 60})
        assert check(write(tmp_path / f"{i}.csv", text)).verdict in ("healthy", "failing")
