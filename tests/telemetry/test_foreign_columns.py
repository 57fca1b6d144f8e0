"""Which column is what: guessed from names, said with --columns, and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeper.telemetry.foreign import parse_columns
from sweeper.telemetry.foreign.levels import guess_classes, samples_behind
from sweeper.telemetry.foreign.names import read_name
from sweeper.types import UsageError
from tests.telemetry.foreign_logs import check, csv_text, falling, flat, read, write

NAMES = {
    "loss": ("loss", ""), "train_loss": ("loss", "train"), "train/loss": ("loss", "train"),
    "Loss/train": ("loss", "train"), "trainLoss": ("loss", "train"),
    "training loss": ("loss", "train"),
    "batch_loss": ("loss", ""), "epoch_loss": ("loss", ""), "Loss_D": ("loss", ""),
    "nll_loss": ("loss", ""), "cross_entropy": ("loss", ""), "mean_squared_error": ("loss", ""),
    "val_loss": ("loss", "held_out"), "validation/loss": ("loss", "held_out"),
    "eval_loss": ("loss", "held_out"), "testloss": ("loss", "held_out"),
    "acc": ("accuracy", ""), "Accuracy": ("accuracy", ""), "top1": ("accuracy", ""),
    "Acc@1": ("accuracy", ""), "accuracy_top-1": ("accuracy", ""), "Prec@1": ("accuracy", ""),
    "sparse_categorical_accuracy": ("accuracy", ""), "val_acc": ("accuracy", "held_out"),
    "eval/mean_token_accuracy": ("accuracy", "held_out"), "top1_err": ("error", ""),
    "train error": ("error", "train"), "val_error_rate": ("error", "held_out"),
    "lr": ("lr", ""), "learning_rate": ("lr", ""), "lr-AdamW/pg1": ("lr", ""), "x/lr0": ("lr", ""),
    "grad_norm": ("grad_norm", ""), "gnorm": ("grad_norm", ""),
    "train/grad_norm": ("grad_norm", "train"),
    "grad_2.0_norm_total": ("grad_norm", ""), "global_norm": ("grad_norm", ""),
    "perplexity": ("perplexity", ""), "val_ppl": ("perplexity", "held_out"),
    "step": ("step", ""), "_step": ("step", ""), "global_step": ("step", ""), "iter": ("step", ""),
    "Iteration": ("step", ""), "train/global_step": ("step", ""), "num_updates": ("step", ""),
    "epoch": ("epoch", ""), "Epoch": ("epoch", ""), "train/epoch": ("epoch", ""),
    "Wall time": ("time", ""), "_timestamp": ("time", ""), "phase": ("phase", ""),
    "run_id": ("run", ""),
}  # fmt: skip
NOTHING = (
    "loss_scale", "best_loss", "max_grad_norm", "grad_norm/layer1.weight", "weight_decay",
    "eval_runtime", "train_samples_per_second", "f1", "", "___", "loss__MAX", "loss_weight",
    "lr_decay", "mean_error_bound", "memory_gb",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_role_of_a_name(name: str) -> None:
    reading = read_name(name)
    assert reading is not None
    assert (reading.role, reading.split) == NAMES[name]


@pytest.mark.parametrize("name", NOTHING)
def test_names_that_say_nothing(name: str) -> None:
    assert read_name(name) is None


def test_the_plain_and_full_column_is_taken(tmp_path: Path) -> None:
    n = 60
    sparse = [None if i % 20 else 0.5 for i in range(n)]
    columns = {
        "step": range(n), "loss_cls_head": flat(1.0, n), "train_loss": sparse,
        "loss": falling(n), "top5": flat(0.9, n), "top1": np.linspace(0.1, 0.8, n),
        "test_acc": flat(0.2, n), "val_acc": flat(0.3, n),
    }  # fmt: skip
    run = read(write(tmp_path / "a.csv", csv_text(columns)))
    assert run.columns == {
        "loss": "loss", "accuracy": "top1", "val_accuracy": "val_acc", "step": "step"
    }  # fmt: skip


def test_parts_of_a_loss_are_named(tmp_path: Path) -> None:
    columns = {"epoch": range(40), "train/box_loss": falling(40), "train/cls_loss": falling(40)}
    path = write(tmp_path / "a.csv", csv_text(columns))
    run = read(path)
    assert run.columns["loss"] == "train/cls_loss"
    assert any("'train/box_loss'" in note for note in run.notes)
    assert not read(path, "loss=train/box_loss").notes


def test_columns_that_are_said(tmp_path: Path) -> None:
    columns = {"i": range(50), "q": falling(50), "loss": flat(1.0, 50), "r,s": flat(0.3, 50)}
    text = csv_text(columns).replace("r,s", '"r,s"')
    path = write(tmp_path / "a.csv", text)
    run = read(path, "loss=q, step=i, val_accuracy=r,,s")
    assert run.columns == {"loss": "q", "val_accuracy": "r,s", "step": "i"}
    np.testing.assert_allclose(run.record.steps["loss"], columns["q"])
    headless = write(tmp_path / "b.csv", "\n".join(f"{i},{v}" for i, v in enumerate(falling(50))))
    assert read(headless, "loss=2,step=1").points["loss"] == 50


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ("los=q", "did you mean loss"),
        ("loss=trian/loss", "did you mean 'train/loss'"),
        ("loss=zzz", "'train/loss'"),
        ("loss", "ROLE=NAME"),
        ("loss=", "ROLE=NAME"),
        ("loss=a,loss=b", "once"),
        ("", "ROLE=NAME"),
    ],
)
def test_columns_that_cannot_be(said: str, rule: str, tmp_path: Path) -> None:
    columns = {"step": range(9), "train/loss": falling(9)}
    path = write(tmp_path / "a.csv", csv_text(columns))
    with pytest.raises(UsageError, match=rule):
        check(path, columns=said)


def test_log_without_a_measure_names_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "colour,size\n1,2\n3,4\n5,6\n")
    with pytest.raises(UsageError, match="'colour', 'size'"):
        check(path)


def test_per_cent_and_error_rates(tmp_path: Path) -> None:
    right = np.linspace(0.1, 0.9, 40)
    for name, values in (
        ("acc", right), ("acc", 100 * right), ("acc (%)", right), ("err", 1 - right),
        ("top1_err", 100 - 100 * right),
    ):  # fmt: skip
        path = write(tmp_path / "a.csv", csv_text({"loss": falling(40), name: values}))
        share = read(path).record.steps["accuracy"]
        expected = right / 100 if name == "acc (%)" else right
        np.testing.assert_allclose(share, expected, atol=1e-9)
    odd = write(tmp_path / "b.csv", csv_text({"loss": falling(40), "acc": 400 * right}))
    run = read(odd)
    assert "accuracy" not in run.record.steps
    assert "no accuracy" in run.notes[0]


def test_phase_column_and_rows_of_evaluations(tmp_path: Path) -> None:
    rows = ["epoch,phase,loss,acc"]
    for i, value in enumerate(falling(40)):
        rows += [f"{i},train,{value},{90 - i}", f"{i},val,{value + 1},{50 + i / 10}"]
    run = read(write(tmp_path / "a.csv", "\n".join(rows)))
    assert run.record.rows == "epochs"
    evals = run.record.evals
    assert evals is not None
    np.testing.assert_allclose(evals.loss, run.record.steps["loss"] + 1)
    np.testing.assert_allclose(evals.accuracy[-1], 0.539)
    np.testing.assert_array_equal(evals.step, np.arange(1, 41))


def test_runs_by_a_column(tmp_path: Path) -> None:
    rows = ["seed,step,loss"]
    for seed, course in ((1, falling()), (2, flat())):
        rows += [f"{seed},{i},{v}" for i, v in enumerate(course)]
    result = check(write(tmp_path / "a.csv", "\n".join(rows)))
    assert result.log["runs"] == {"1": "healthy", "2": "failing"}
    assert any("2 runs, 1 failing" in note for note in result.notes)


def test_perplexity_is_a_loss(tmp_path: Path) -> None:
    loss = falling(60, 4.0, 2.0)
    path = write(tmp_path / "a.csv", csv_text({"step": range(60), "ppl": np.exp(loss)}))
    run = read(path)
    np.testing.assert_allclose(run.record.steps["loss"], loss)
    assert run.record.facts.task == "language_model"


def test_classes_are_guessed_where_loss_and_accuracy_agree() -> None:
    rng = np.random.default_rng(0)
    for k in (2, 10, 100):
        right, loss = np.linspace(1 / k, 0.9, 2000), falling(2000, np.log(k), 0.2, 0.01)
        assert abs(guess_classes(loss, right) - k) <= k // 8
    assert guess_classes(falling(200, 2.3, 0.2), np.linspace(0.5, 0.9, 200)) == 0
    assert guess_classes(falling(200, 1.2, 0.9), np.full(200, np.nan)) == 0
    blown = np.concatenate([[2.31, 400.0, 50.0, 20.0, 8.0], flat(2.303, 195)])
    assert guess_classes(blown, 0.1 + 0.01 * rng.standard_normal(200)) == 10


def test_samples_behind_an_accuracy_by_its_scatter() -> None:
    rng = np.random.default_rng(0)
    for n in (16, 64, 512):
        measured = samples_behind(rng.binomial(n, 0.3, 3000) / n)
        assert np.isfinite(measured).all()
        assert n / 1.15 < measured[0] < 1.15 * n
    assert samples_behind(np.array([0.5, np.nan, 0.5]))[0] == 100
    assert np.isnan(samples_behind(np.array([0.5, np.nan, 0.5]))[1])


def test_doubled_comma_belongs_to_the_name() -> None:
    assert parse_columns("loss=a,,b,step=c") == {"a,b": "loss", "c": "step"}
