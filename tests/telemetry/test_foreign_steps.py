"""Rows in the order of training: repeated, resumed, appended, counted within epochs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.telemetry.foreign_logs import check, csv_text, falling, flat, read, write

LOSS = falling(200)


def _log(path: Path, steps: list[int], loss: list[float], **more: list[object]) -> Path:
    return write(path / "a.csv", csv_text({"step": steps, "loss": loss, **more}))


def test_unordered_rows_are_sorted(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(200)
    run = read(_log(tmp_path, order.tolist(), LOSS[order].tolist()))
    np.testing.assert_array_equal(run.record.steps["step"], np.arange(200))
    np.testing.assert_allclose(run.record.steps["loss"], LOSS)
    assert "out of order" in run.notes[0]


def test_resumed_run_counts_what_came_last(tmp_path: Path) -> None:
    steps = [*range(120), *range(100, 200)]
    old = [*LOSS[:100], *([9.0] * 20), *LOSS[100:]]
    accuracy: list[object] = [0.1] * 100 + [0.99] * 20 + [0.5] * 100
    run = read(_log(tmp_path, steps, old, accuracy=accuracy))
    np.testing.assert_array_equal(run.record.steps["step"], np.arange(200))
    np.testing.assert_allclose(run.record.steps["loss"], LOSS)
    assert run.record.steps["accuracy"].max() == 0.5
    assert "resumed" in run.notes[0]


def test_repeated_steps_count_once(tmp_path: Path) -> None:
    steps = sorted([*range(200), *range(0, 200, 10)])
    run = read(_log(tmp_path, steps, [float(s % 7 + 1) for s in steps]))
    assert len(run.record.steps["loss"]) == 200
    assert "repeated" in run.notes[0]


def test_appended_run_is_another_run(tmp_path: Path) -> None:
    steps = [*range(200)] * 2
    result = check(_log(tmp_path, steps, [*LOSS, *(LOSS[0] + flat(0.0001, 200))]))
    assert result.log["runs"] == {"#1": "healthy", "#2": "failing"}
    both = csv_text({"step": range(200), "loss": LOSS})
    assert set(check(write(tmp_path / "b.csv", both + both)).log["runs"]) == {"#1", "#2"}


def test_steps_counted_within_epochs(tmp_path: Path) -> None:
    batch = [i % 50 for i in range(200)]
    for name, more in (("batch", {}), ("step", {"epoch": [i // 50 for i in range(200)]})):
        text = csv_text({**more, name: batch, "loss": LOSS})
        run = read(write(tmp_path / f"{name}.csv", text))
        np.testing.assert_array_equal(run.record.steps["step"], np.arange(200))
        assert "counted on" in run.notes[0]


def test_epochs_repeated_in_every_row_are_not_steps(tmp_path: Path) -> None:
    text = csv_text({"epoch": [i // 20 for i in range(200)], "loss": LOSS})
    run = read(write(tmp_path / "a.csv", text))
    assert run.record.rows == "entries"
    assert len(run.record.steps["loss"]) == 200


def test_one_row_an_epoch(tmp_path: Path) -> None:
    text = csv_text({"epoch": range(1, 13), "loss": falling(12)})
    assert read(write(tmp_path / "a.csv", text)).record.rows == "epochs"
    text = csv_text({"step": range(0, 1200, 100), "loss": falling(12)})
    assert read(write(tmp_path / "b.csv", text)).record.rows == "entries"


def test_values_of_other_rows_go_to_the_row_before(tmp_path: Path) -> None:
    rows = []
    for i in range(0, 100, 5):
        rows.append({"step": i, "train_loss": float(LOSS[i])})
        rows.append({"step": i, "lr": 0.1 / (i + 1)})
        if i % 25 == 20:
            rows.append({"step": i, "val_loss": 1.0 + i, "train_acc": i / 100})
    run = read(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    steps = run.record.steps
    np.testing.assert_allclose(steps["lr"], [0.1 / (i + 1) for i in range(0, 100, 5)])
    known = np.isfinite(steps["accuracy"])
    np.testing.assert_array_equal(steps["step"][known], [20, 45, 70, 95])
    assert run.record.evals is not None
    np.testing.assert_array_equal(run.record.evals.step, [5, 10, 15, 20])


def test_later_part_of_a_run_need_not_fall(tmp_path: Path) -> None:
    steps = [50_000 + 10 * i for i in range(200)]
    run = read(_log(tmp_path, steps, flat(1.7).tolist()))
    assert run.record.facts.pretrained
    result = check(_log(tmp_path, steps, flat(1.7).tolist()))
    assert result.verdict == "healthy"
    assert check(_log(tmp_path, list(range(200)), flat(1.7).tolist())).verdict == "failing"


def test_findings_name_the_steps_of_the_log(tmp_path: Path) -> None:
    loss = LOSS.copy()
    loss[150:] = np.nan
    steps = [1000 + 7 * i for i in range(200)]
    finding = check(_log(tmp_path, steps, loss.tolist())).diagnosis.findings[0]
    assert finding.steps == (1000 + 7 * 150, 1000 + 7 * 199)
    assert f"step {1000 + 7 * 150} " in finding.reason
    assert finding.evidence["first_step"] == 1000 + 7 * 150
    epochs = csv_text({"epoch": range(1, 13), "loss": [2.0] * 8 + ["nan"] * 4})
    finding = check(write(tmp_path / "b.csv", epochs)).diagnosis.findings[0]
    assert "epoch 9 " in finding.reason
