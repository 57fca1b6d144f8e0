"""`sweeper.SweeperCallback`: a Trainer's training, watched from inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

import sweeper
from sweeper.program import seams
from sweeper.program.session import Session
from sweeper.types import UsageError


class Net(nn.Module):
    """Three classes of eight numbers, with the loss inside, as a Trainer wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.body(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def make(
    tmp_path: Path, *callbacks: TrainerCallback, kind: Callable[..., Any] = Trainer, **options: Any
) -> Any:
    torch.manual_seed(0)
    rows = torch.randn(112, 8, generator=torch.Generator().manual_seed(1))
    items = [{"x": x, "labels": x[:3].argmax()} for x in rows]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        **{
            "max_steps": 24, "per_device_train_batch_size": 8, "learning_rate": 0.01,
            "gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 12,
            "report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no",
            "save_strategy": "no", **options,
        },
    )  # fmt: skip
    return kind(
        model=Net(), args=arguments, train_dataset=items[:96], eval_dataset=items[96:],
        callbacks=list(callbacks),
    )  # fmt: skip


def weights(trainer: Any) -> list[Any]:
    return [p.detach().tolist() for p in trainer.model.parameters()]


@pytest.fixture(autouse=True)
def nothing_stays_patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    before = (F.cross_entropy, nn.Module.__call__, torch.Tensor.backward, Trainer.training_step)
    yield
    assert (F.cross_entropy, nn.Module.__call__, torch.Tensor.backward) == before[:3]
    assert Trainer.training_step is before[3]
    assert not seams.watching()


def test_the_training_is_watched_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = make(tmp_path)
    bare.train()
    callback = sweeper.SweeperCallback()
    trainer = make(tmp_path, callback)
    trainer.train()
    assert weights(trainer) == weights(bare)
    assert "24 optimizer steps watched: no critical finding" in capsys.readouterr().out
    watched = callback.watched
    assert watched is not None and watched.folder == tmp_path / ".sweeper" / "watch" / "1"
    facts, record = watched.facts, watched.record
    assert facts.optimizers[0].name == "AdamW" and facts.schedulers == ("LambdaLR",)
    assert (facts.backwards_per_step, facts.batch_size, facts.clips[0].max_norm) == (2, 16, 1.0)
    assert any(x.trained for x in facts.loaders)
    assert record.evals is not None and list(record.evals.step) == [12, 24]
    assert np.isfinite(record.series("loss")).all()
    guarded = {"training_step", "_run_epoch", "evaluate"} & set(vars(trainer))
    assert not guarded


def test_every_training_has_a_record_of_its_own(tmp_path: Path) -> None:
    callback = sweeper.SweeperCallback(quiet=True)
    trainer = make(tmp_path, callback)
    for _ in range(2):
        trainer.train()
    assert callback.watched is not None and callback.watched.folder is not None
    assert callback.watched.folder.name == "2"
    assert callback.watched.record.outcome.steps == 24


@pytest.mark.parametrize("place", ["training", "evaluation"])
def test_an_error_in_the_training_ends_the_watching(tmp_path: Path, place: str) -> None:
    class Failing(Trainer):  # type: ignore[misc]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            if place == "training" and self.state.global_step == 11:
                raise ValueError("bad row")
            return super().compute_loss(*args, **kwargs)

        def evaluate(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("bad row")

    callback = sweeper.SweeperCallback(folder=tmp_path / "record")
    trainer = make(tmp_path, callback, kind=Failing)
    before = F.cross_entropy
    with pytest.raises(ValueError, match="bad row"):
        trainer.train()
    assert F.cross_entropy is before
    assert callback.watched is not None
    outcome = callback.watched.record.outcome
    assert (outcome.status, outcome.error) == ("program_error", "ValueError: bad row")
    assert outcome.steps == (11 if place == "training" else 12)


def test_a_rate_far_too_high_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback = sweeper.SweeperCallback()
    make(
        tmp_path, callback, learning_rate=300.0, max_steps=60, lr_scheduler_type="constant"
    ).train()
    assert callback.watched is not None and callback.watched.failing
    assert "failing" in capsys.readouterr().out
    assert "learning_rate_too_high" in {h.cause.value for h in callback.watched.causes[:2]}


def test_under_a_run_of_sweepers_own_it_steps_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with seams.installed(Session()) as session:
        make(tmp_path, sweeper.SweeperCallback()).train()
    assert session.step == 24
    assert "whole program" in capsys.readouterr().out
    assert not Path(".sweeper").exists()


def test_a_bad_folder_is_told_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"older record, got 'notes\.txt'"):
        sweeper.SweeperCallback(folder=tmp_path)
