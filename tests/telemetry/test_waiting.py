"""A step that writes nothing waits for no device and keeps almost nothing.

There need be no GPU: what would make one wait is seen by its operation (one whose result decides a
shape or a Python value) and by the ways in which values leave a tensor.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sweeper.program import seams
from sweeper.program.session import Session
from sweeper.telemetry import buffer
from sweeper.telemetry.recorder import Recorder

WAITING = frozenset(
    {
        "_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "bincount",
        "_unique2", "unique_dim", "unique_consecutive", "equal", "_coalesce", "repeat_interleave",
        "linalg_eigh", "_linalg_eigh", "_linalg_svd", "histc",
    }
)  # fmt: skip
LEAVING = ("cpu", "numpy", "tolist", "item", "__float__", "__int__", "__bool__", "__array__")
Train = Callable[[int], Any]


class Waits(TorchDispatchMode):
    """Notes at which step something waited: the watch, or the program too."""

    def __init__(self, session: Session, *, the_watch_only: bool) -> None:
        super().__init__()
        self.session, self.the_watch_only = session, the_watch_only
        self.at: list[tuple[int, str]] = []

    def note(self, what: str) -> None:
        if self.session.observing or not self.the_watch_only:
            self.at.append((self.session.step, what))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        by_mask = name in ("index", "index_put", "index_put_") and any(
            t is not None and t.dtype is torch.bool for t in args[1]
        )
        if name in WAITING or by_mask:
            self.note(name)
        return func(*args, **(kwargs or {}))


@dataclass
class Watched:
    session: Session
    recorder: Recorder
    waits: Waits
    written: list[int]
    """Steps at which the record was written."""
    kept: list[int]
    """After each step, bytes of the tensors that the watch holds."""

    @property
    def quiet(self) -> set[int]:
        return set(range(1, self.session.step)) - set(self.written)


def watch(
    folder: Path,
    program: Train,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
    the_watch_only: bool = False,
) -> Watched:
    monkeypatch.setattr(buffer, "on_host", lambda tensor: False)  # here stands for a GPU
    session = Session()
    recorder = Recorder(session, folder)
    session.observers.append(recorder)
    found = Watched(session, recorder, Waits(session, the_watch_only=the_watch_only), [], [])

    def leaving(name: str) -> Any:
        plain = getattr(torch.Tensor, name)

        def call(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            found.waits.note(name)
            return plain(self, *args, **kwargs)

        return call

    plain_write = recorder.writer.write

    def write(kind: str, **columns: Any) -> None:
        found.written.append(session.step)
        plain_write(kind, **columns)

    monkeypatch.setattr(recorder.writer, "write", write)
    session.after_step(lambda _: found.kept.append(bytes_held(recorder)))
    with seams.installed(session), monkeypatch.context() as patched, found.waits:
        for name in LEAVING:
            patched.setattr(torch.Tensor, name, leaving(name))
        program(steps)
    recorder.program_ended()
    assert not session.watch_errors, session.watch_errors[0]
    assert session.step == steps
    return found


def bytes_held(root: Any) -> int:
    """Of the tensors that can be reached from the recorder without passing the program."""
    seen: set[int] = set()
    todo, total = [root], 0
    while todo:
        value = todo.pop()
        if id(value) in seen or isinstance(value, (Session, nn.Module, nn.Parameter)):
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            total += value.untyped_storage().nbytes()
        elif isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, (list, tuple, set)):
            todo.extend(value)
        elif is_dataclass(value):
            todo.extend(getattr(value, f.name) for f in fields(value))
        elif type(value).__module__.startswith("sweeper."):
            names = [n for c in type(value).__mro__ for n in getattr(c, "__slots__", ())]
            todo.extend(vars(value).values() if not names else (getattr(value, n) for n in names))
    return total


def classify(steps: int) -> None:
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7)
    for step in range(steps):
        x, y = torch.randn(16, 20), torch.randint(0, 5, (16,))
        y[step % 3] = -100
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def rate_in_a_tensor(steps: int) -> None:
    model = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.01))
    for _ in range(steps):
        optimizer.zero_grad()
        nn.MSELoss()(model(torch.randn(16, 20)).squeeze(1), torch.randn(16)).backward()
        optimizer.step()


def regress_images(steps: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        x = torch.randn(8, 3, 32, 32)  # more than is kept as a copy
        optimizer.zero_grad()
        F.mse_loss(model(x), x).backward()
        optimizer.step()


def bags_in_turns(steps: int) -> None:
    model = nn.EmbeddingBag(50, 8)
    head = nn.Linear(8, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(2):
            ids, starts = torch.randint(0, 50, (40,)), torch.arange(0, 40, 4)
            given = head(model(ids, starts)).squeeze(1)
            (F.binary_cross_entropy_with_logits(given, torch.rand(10).round()) / 2).backward()
        optimizer.step()


def language(steps: int) -> None:
    model = nn.Sequential(nn.Embedding(60, 16), nn.Linear(16, 60))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        ids = torch.randint(0, 60, (4, 33))
        optimizer.zero_grad()
        logits = model(ids[:, :-1])
        F.cross_entropy(logits.reshape(-1, 60), ids[:, 1:].reshape(-1), ignore_index=0).backward()
        optimizer.step()


@pytest.mark.parametrize("program", [classify, regress_images, bags_in_turns, language])
def test_a_step_that_writes_nothing_waits_for_nothing(
    program: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watch(tmp_path, program, 55, monkeypatch)
    assert len(found.quiet) > 30
    assert [entry for entry in found.waits.at if entry[0] in found.quiet] == []
    # The eye is not blind: steps that write do fetch.
    assert {step for step, _ in found.waits.at} & set(found.written)


def test_nor_for_a_rate_in_a_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The optimizer itself reads it.
    found = watch(tmp_path, rate_in_a_tensor, 55, monkeypatch, the_watch_only=True)
    assert [entry for entry in found.waits.at if entry[0] in found.quiet] == []
    assert {step for step, _ in found.waits.at} & set(found.written)


def test_the_watch_keeps_less_than_the_largest_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wide(steps: int) -> None:
        model = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(),
                              nn.Linear(1024, 100))  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(64, 512)), torch.randint(0, 100, (64,))).backward()
            optimizer.step()

    found = watch(tmp_path, wide, 60, monkeypatch)
    assert max(found.kept) < 1024 * 1024 * 4
    assert (tmp_path / "captured.npz").exists() and not list(tmp_path.glob("*.part"))


def test_the_trace_of_the_first_forward_holds_no_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[bool] = []

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            before = self.first(x)  # tanh keeps its result only
            after = torch.tanh(before)
            gone = weakref.ref(before)
            del before
            gc.collect()
            alive.append(gone() is not None)
            result: torch.Tensor = self.second(after)
            return result

    def program(steps: int) -> None:
        model = Model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(4, 6)), torch.randint(0, 3, (4,))).backward()
            optimizer.step()

    found = watch(tmp_path, program, 3, monkeypatch)
    assert alive == [False] * 3
    assert found.recorder.graph is not None
    assert [layer.name for layer in found.recorder.graph.layers()] == ["first", "second"]
