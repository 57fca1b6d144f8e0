"""Every format gives the same record for the same course, and the golden logs show what they
must."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeper.telemetry.foreign import is_log, read_log
from sweeper.types import UsageError
from tests.telemetry.foreign_logs import check, critical, csv_text, falling, read, write

GOLDEN = Path(__file__).parents[1] / "golden" / "logs"
LOSS = np.round(falling(60), 6)
STEP = np.arange(60)


def _columns(**names: str) -> dict[str, np.ndarray]:
    return {names.get("step", "step"): STEP, names.get("loss", "loss"): LOSS}


def _json(path: Path, data: object) -> Path:
    return write(path, json.dumps(data))


def _mlflow(folder: Path) -> Path:
    lines = "".join(f"{1_700_000_000_000 + i} {v} {i}\n" for i, v in zip(STEP, LOSS, strict=True))
    write(folder / "mlruns/0/ab12/metrics/train/loss", lines)
    return folder / "mlruns"


def _tensorboard(folder: Path) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tb"))
    for i, value in zip(STEP, LOSS, strict=True):
        writer.add_scalar("train/loss", value, int(i))
    writer.close()
    return folder / "tb"


ROWS = [{"step": int(i), "loss": float(v)} for i, v in zip(STEP, LOSS, strict=True)]
FORMATS: dict[str, Callable[[Path], Path]] = {
    "csv": lambda d: write(d / "a.csv", csv_text(_columns())),
    "semicolons and decimal commas": lambda d: write(
        d / "a.csv", csv_text(_columns(), ";").replace(".", ",")
    ),
    "tabs": lambda d: write(d / "a.tsv", csv_text(_columns(), "\t")),
    "blanks": lambda d: write(d / "a.txt", csv_text(_columns(), " ")),
    "numpy.savetxt": lambda d: write(d / "a.txt", "# made\n# " + csv_text(_columns(), " ")),
    "Excel": lambda d: write(d / "a.csv", "sep=;\r\n" + csv_text(_columns(), ";")),
    "byte order mark": lambda d: write(d / "a.csv", csv_text(_columns()).encode("utf-8-sig")),
    "UTF-16": lambda d: write(d / "a.csv", csv_text(_columns()).encode("utf-16")),
    "UTF-16 without a mark": lambda d: write(d / "a.csv", csv_text(_columns()).encode("utf-16-le")),
    "Latin-1": lambda d: write(
        d / "a.csv", csv_text({**_columns(), "gr\u00f6\u00dfe": ["\u00e9"] * 60}).encode("latin-1")
    ),
    "old line ends": lambda d: write(d / "a.csv", csv_text(_columns()).replace("\n", "\r")),
    "long table": lambda d: write(
        d / "a.csv", csv_text({"key": ["loss"] * 60, "value": LOSS, "step": STEP})
    ),
    "W&B chart": lambda d: write(
        d / "a.csv", csv_text({"Step": STEP, "calm-1 - loss": LOSS, "calm-1 - loss__MAX": LOSS + 1})
    ),
    "TensorBoard download": lambda d: write(
        d / "run-x-tag-train_loss.csv", csv_text({"Wall time": STEP, "Step": STEP, "Value": LOSS})
    ),
    "TensorBoard JSON download": lambda d: _json(
        d / "run-x-tag-train_loss.json",
        [[1.7e9, int(i), float(v)] for i, v in zip(STEP, LOSS, strict=True)],
    ),
    "JSON lines": lambda d: write(d / "a.jsonl", "\n".join(map(json.dumps, ROWS))),
    "nested JSON lines": lambda d: write(
        d / "a.jsonl",
        "\n".join(json.dumps({"step": r["step"], "train": {"loss": r["loss"]}}) for r in ROWS),
    ),
    "JSON lines, one metric each": lambda d: write(
        d / "a.jsonl",
        "\n".join(
            json.dumps({"metric": "loss", "value": r["loss"], "step": r["step"]}) for r in ROWS
        ),
    ),
    "JSON array": lambda d: _json(d / "a.json", ROWS),
    "trainer_state": lambda d: _json(
        d / "trainer_state.json", {"epoch": 1.0, "log_history": ROWS, "train_batch_size": 4}
    ),
    "object of lists": lambda d: _json(
        d / "a.json", {"step": STEP.tolist(), "loss": LOSS.tolist()}
    ),
    "MLflow": _mlflow,
    "TensorBoard": _tensorboard,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_same_course_in_every_format(name: str, tmp_path: Path) -> None:
    run = read(FORMATS[name](tmp_path))
    np.testing.assert_allclose(run.record.steps["loss"], LOSS, rtol=1e-6)
    np.testing.assert_array_equal(run.record.steps["step"], STEP)
    assert run.record.foreign
    assert run.points["loss"] == 60
    assert "loss" in run.columns["loss"]
    assert not run.notes


def test_batch_size_of_a_trainer_state(tmp_path: Path) -> None:
    assert read(FORMATS["trainer_state"](tmp_path)).record.facts.batch_size == 4


GOLDEN_LOGS = {
    "trainer/sound/trainer_state.json": (set(), 50, 10),
    "trainer/nan/trainer_state.json": ({"non_finite"}, 50, 10),
    "lightning": (set(), 48, 6),
    "lightning_slow": ({"chance_level", "flat_loss"}, 48, 6),
    "tensorboard/sound": (set(), 60, 6),
    "tensorboard/nan": ({"non_finite", "flat_loss"}, 60, 6),
    "keras_chance.csv": ({"chance_level", "flat_loss"}, 12, 12),
    "keras_sound.csv": (set(), 12, 12),
    "wandb/history.jsonl": ({"non_finite"}, 60, 3),
    "wandb/run-1.wandb": ({"non_finite"}, 40, 2),
    "mlruns/0/9f0c": (set(), 60, 6),
    "mlruns/0/b7d1": ({"divergence"}, 60, 6),
    "mmlab.log.json": (set(), 60, 3),
}


@pytest.mark.parametrize("name", GOLDEN_LOGS)
def test_golden_log(name: str) -> None:
    symptoms, losses, evaluations = GOLDEN_LOGS[name]
    result = check(GOLDEN / name)
    assert critical(result) == symptoms
    assert result.verdict == ("failing" if symptoms else "healthy")
    assert result.log["points"]["loss"] == losses
    log = read_log(GOLDEN / name)
    evals = log.runs[0].record.evals
    assert evals is not None
    assert len(evals.step) == evaluations
    assert (np.diff(evals.step) > 0).all()


def test_filtered_nan_begins_where_the_filter_wrote_its_first_zero() -> None:
    finding = check(GOLDEN / "trainer/nan").diagnosis.findings[0]
    assert finding.steps == (5, 250)
    notes = check(GOLDEN / "trainer/nan").notes
    assert any("49 losses of exactly 0" in note for note in notes)


def test_two_runs_of_a_chart_export_are_told_apart() -> None:
    result = check(GOLDEN / "wandb/export.csv")
    assert result.log["runs"] == {"brisk-sun-1": "healthy", "dim-fog-2": "failing"}
    assert result.log["run"] == "dim-fog-2"
    assert "flat_loss" in critical(result)


@pytest.mark.parametrize("folder", ["trainer", "tensorboard", "mlruns"])
def test_runs_of_a_folder_are_all_checked(folder: str) -> None:
    runs = check(GOLDEN / folder).log["runs"]
    assert sorted(runs.values()) == ["failing", "healthy"]


def test_checkpoints_are_states_of_one_run(tmp_path: Path) -> None:
    for count in (20, 60):
        data = {"log_history": ROWS[:count]}
        _json(tmp_path / f"out/checkpoint-{count}/trainer_state.json", data)
    assert read(tmp_path / "out").points["loss"] == 60


def test_folders_of_a_split_are_one_run(tmp_path: Path) -> None:
    """Keras writes train and validation into folders of their own."""
    from torch.utils.tensorboard import SummaryWriter

    for split, shift in (("train", 0.0), ("validation", 0.1)):
        writer = SummaryWriter(str(tmp_path / "logs" / split))
        for i, value in enumerate(LOSS):
            writer.add_scalar("epoch_loss", value + shift, i)
        writer.close()
    run = read(tmp_path / "logs")
    assert run.record.rows == "epochs"
    np.testing.assert_allclose(run.record.steps["loss"], LOSS, rtol=1e-6)
    assert run.record.evals is not None
    np.testing.assert_allclose(run.record.evals.loss, LOSS + 0.1, rtol=1e-6)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "tensorboard.compat.proto.event_pb2"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"sweeper\[tensorboard\]"):
        read_log(GOLDEN / "tensorboard/sound")


def test_a_table_beside_a_program_is_not_taken_for_its_log(tmp_path: Path) -> None:
    write(tmp_path / "data.csv", "step,loss\n" + "".join(f"{i},{3 / (i + 1)}\n" for i in range(60)))
    assert read(tmp_path).points["loss"] == 60
    write(tmp_path / "train.py", "import torch\n")
    with pytest.raises(UsageError, match=r"train\.py and data\.csv: name the program"):
        read(tmp_path)
    assert read(tmp_path / "data.csv").points["loss"] == 60
    shutil.copytree(GOLDEN / "tensorboard/sound", tmp_path / "runs")
    assert read(tmp_path).points["loss"] == 60  # nothing else writes event files


def test_event_file_of_a_crashed_run(tmp_path: Path) -> None:
    whole = next((GOLDEN / "tensorboard/sound").iterdir()).read_bytes()
    name = "events.out.tfevents.1.host"
    torn = read(write(tmp_path / "torn" / name, whole[:-7]))
    assert torn.points["loss"] in (59, 60)
    assert "torn or damaged" in torn.notes[0]
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    half = read(write(tmp_path / "crc" / name, bytes(damaged)))
    assert 20 < half.points["loss"] < 40
    assert "bytes from byte" in half.notes[0]
    for content in (whole[:5], b"\xff" * 8 + whole[8:], whole[:40] + b"\0" * 4096):
        with pytest.raises(UsageError, match="scalars"):
            read(write(tmp_path / "bad" / name, content))


def test_offline_record_of_a_crashed_run(tmp_path: Path) -> None:
    whole = (GOLDEN / "wandb/run-1.wandb").read_bytes()
    torn = read(write(tmp_path / "a.wandb", whole[: len(whole) // 2]))
    assert 5 < torn.points["loss"] < 40
    assert "torn or damaged" in torn.notes[0]
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    assert 5 < read(write(tmp_path / "b.wandb", bytes(damaged))).points["loss"] < 40
    for content in (whole[:5], whole[:7], whole[:200], whole[:7] + bytes(70_000)):
        with pytest.raises(UsageError, match="history of numbers"):
            read(write(tmp_path / "c.wandb", content))


def test_programs_and_logs_are_told_apart(tmp_path: Path) -> None:
    assert is_log(write(tmp_path / "a.csv", "x"))
    assert is_log(tmp_path)
    assert is_log(write(tmp_path / "loss", "1700000000000 0.5 1\n1700000000001 0.4 2\n"))
    assert not is_log(write(tmp_path / "train.py", "x"))
    assert not is_log(write(tmp_path / "train", "#!/usr/bin/env python\n"))
    assert not is_log(tmp_path / "missing.csv")
    write(tmp_path / "package/__main__.py", "")
    assert not is_log(tmp_path / "package")
