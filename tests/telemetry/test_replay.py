"""What the last model makes of the first batches, in this process under the real seams."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sweeper.program import seams
from sweeper.program.session import LossCall, Session
from sweeper.telemetry.record import _replay
from sweeper.telemetry.replay import FILE, Replayer
from sweeper.types import Replay


@pytest.fixture(autouse=True)
def few_objects() -> Iterator[None]:
    """Models are found among living objects: keep those of other tests out of sight."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def replayed(
    program: Callable[[], Any], folder: Path, prepare: Callable[[Session], None] = lambda s: None
) -> Replay | None:
    session = Session()
    replayer = Replayer(session, folder)
    session.observers.append(replayer)
    with seams.installed(session):
        prepare(session)
        program()
        session.observing = True
        replayer.program_ended()
    assert not session.watch_errors, session.watch_errors[0]
    return _replay(folder / FILE)


def blobs(n: int = 240, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.tensor([[3.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 3.0, 0]])
    return centres[y] + torch.randn(n, 4, generator=generator), y


Give = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def train(
    model: nn.Module, *, lr: float = 1e-2, passes: int = 10, loss: Any = None,
    give: Give = lambda model, x: model(x), data: Any = None,
) -> Callable[[], None]:  # fmt: skip
    """A program: hand-sliced batches, Adam, cross-entropy by default."""

    def program() -> None:
        torch.manual_seed(0)
        x, y = data or blobs()
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        criterion = loss or nn.functional.cross_entropy
        for step in range(passes * len(x) // 24):
            rows = torch.arange(step * 24, step * 24 + 24) % len(x)
            optimizer.zero_grad()
            criterion(give(model, x[rows]), y[rows]).backward()
            optimizer.step()

    return program


def mlp(p: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(p), nn.Linear(16, 3))


def test_skill_without_dropout_and_recall(tmp_path: Path) -> None:
    found = replayed(train(mlp(0.9), passes=20), tmp_path)
    assert found is not None
    assert found.n == 1024 - 1024 % 24 + 24
    assert found.skill > 0.85, "under dropout of 0.9 the batches themselves show far less"
    assert found.eval_skill == pytest.approx(found.skill)
    assert len(found.recall) == 3
    assert sum(found.class_counts) == found.n
    assert found.batch == 0, "a model that learned is not asked to learn by heart"


def test_eval_mode_is_told_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(16, momentum=0.0)  # its running statistics stay as they were
    model = nn.Sequential(nn.Linear(4, 16), norm, nn.ReLU(), nn.Linear(16, 3))

    def far(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = model(100 * x + 300)
        return out

    found = replayed(train(model, give=far), tmp_path)
    assert found is not None
    assert found.skill > 0.9 > found.eval_skill + 0.1
    assert found.eval_loss > 10 * found.loss
    assert not bool(norm.running_mean.any()), "left as the program left it"  # type: ignore[union-attr]
    assert model.training


def test_a_batch_can_be_learnt_by_heart_where_only_the_rate_was_wrong(tmp_path: Path) -> None:
    found = replayed(train(mlp(), lr=1e-7, passes=3), tmp_path)
    assert found is not None
    assert found.skill < 0.5
    assert found.batch == 24
    assert found.batch_skill >= 0.9
    assert 0 < found.batch_steps <= 600


def test_a_model_that_is_cut_off_cannot(tmp_path: Path) -> None:
    class Deaf(nn.Module):
        """Its answer does not depend on the input."""

        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.out(0 * x)
            return out

    found = replayed(train(Deaf(), passes=3), tmp_path)
    assert found is not None
    assert found.batch == 24
    assert found.batch_skill < 0.3


def test_a_model_that_computes_its_loss_itself(tmp_path: Path) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.body(x)
            return {"loss": nn.functional.cross_entropy(logits, y), "logits": logits}

    def program() -> None:
        x, y = blobs()
        model = Whole()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            model(x, y)["loss"].backward()
            optimizer.step()

    found = replayed(program, tmp_path)
    assert found is not None
    assert found.skill > 0.8


def test_transposed_logits_and_tokens(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 5, (64, 12), generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 16), nn.Linear(16, 5))

    def program() -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(ids).transpose(1, 2), (ids + 1) % 5).backward()
            optimizer.step()

    found = replayed(program, tmp_path)
    assert found is not None
    assert found.skill > 0.8, "in nats, over the unigram entropy"
    assert len(found.recall) == 5


def test_regression(tmp_path: Path) -> None:
    x, _ = blobs()
    data = (x, x[:, :1] * 2 + 1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))

    def loss(*call: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(*call)

    found = replayed(train(model, passes=40, loss=loss, data=data), tmp_path)
    assert found is not None
    assert found.skill > 0.8
    assert found.recall == ()


def test_what_was_changed_on_the_way_is_not_changed_again(tmp_path: Path) -> None:
    """Inputs and targets are kept as a fix or a fault left them."""

    def prepare(session: Session) -> None:
        session.on_input(lambda module, args, kwargs: ((args[0] * 100,), kwargs))

        def shift(call: LossCall) -> LossCall:
            from dataclasses import replace

            return replace(call, target=(call.target + 1) % 3)

        session.on_loss(shift)

    found = replayed(train(mlp(), passes=20), tmp_path, prepare)
    assert found is not None
    assert found.skill > 0.8


def test_what_cannot_be_made_again_is_left_out(tmp_path: Path) -> None:
    def squashed(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(model(x), dim=1)

    assert replayed(train(mlp(), give=squashed), tmp_path) is None
