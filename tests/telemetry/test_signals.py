"""The signals file: strict JSON lines, torn ends, versions; an old record must still load."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from sweeper.telemetry.record import read_record
from sweeper.telemetry.signals import VERSION, SignalWriter, read_signals
from sweeper.types import SweeperError

GOLDEN = Path(__file__).parent.parent / "golden" / "run-v1"


def written(path: Path) -> list[dict[str, object]]:
    writer = SignalWriter(path)
    writer.write("steps", t=[0, 1], loss=[1.5, math.nan], grad_norm=[math.inf, -math.inf])
    writer.write("eval", t=1, accuracy=0.5)
    writer.close()
    return list(read_signals(path))


def test_non_finite_numbers_are_strict_json(tmp_path: Path) -> None:
    entries = written(tmp_path / "signals.jsonl")
    assert [e["k"] for e in entries] == ["steps", "eval"]
    assert entries[0]["loss"] == [1.5, "NaN"]
    assert entries[0]["grad_norm"] == ["Infinity", "-Infinity"]
    for line in (tmp_path / "signals.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not strict JSON"))


def test_cut_at_every_byte_of_the_last_record_loses_that_record_only(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    whole = written(path)
    data = path.read_bytes()
    last = data[:-1].rfind(b"\n") + 1
    for cut in range(last, len(data)):
        path.write_bytes(data[:cut])
        assert list(read_signals(path)) == whole[:-1], cut


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    written(path)
    lines = path.read_bytes().split(b"\n")
    lines[1] = b'{"k": "steps", "t": [0'
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(SweeperError, match=r"signals\.jsonl:2"):
        list(read_signals(path))


def test_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    path.write_text(json.dumps({"k": "header", "version": VERSION + 1}) + "\n")
    with pytest.raises(SweeperError, match=f"version <= {VERSION}"):
        list(read_signals(path))


def test_golden_run_still_loads() -> None:
    record = read_record(GOLDEN)
    assert record.outcome.status == "finished"
    assert record.facts.optimizers[0].name == "SGD"
    assert record.facts.loss_function == "cross_entropy"
    assert len(record.series("loss")) == 120
    assert record.series("loss")[0] == pytest.approx(1.1, abs=0.4)
    assert record.layers is not None
    assert record.layers.names == ("0.weight", "2.weight")
    assert record.layers.update_ratio.shape == (len(record.layers.step), 2)
    assert record.activations is not None
    assert record.activations.functions == ("pooled",)
    assert record.evals is not None
    assert np.isfinite(record.evals.accuracy).all()


def test_folder_without_outcome_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SweeperError, match=r"outcome\.json"):
        read_record(tmp_path)
