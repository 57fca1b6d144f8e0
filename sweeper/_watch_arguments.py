"""What `sweeper.watch` may be given: models, optimizers, a folder."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.types import UsageError

if TYPE_CHECKING:
    import torch

DEFAULT_FOLDER = Path(".sweeper") / "watch"
RECORD_FILES = (
    "job.json", "signals.jsonl", "facts.json", "facts.json.part", "outcome.json", "captured.npz",
)  # fmt: skip
"""What a watched block leaves; nothing else in a folder is ever removed."""


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def modules(model: Any) -> tuple[torch.nn.Module, ...]:
    import torch

    models = _listed(model)
    for one in models:
        if not isinstance(one, torch.nn.Module):
            raise UsageError(
                "watch(model) must be a torch.nn.Module or a list of them, got"
                f" {type(one).__name__}"
            )
        compiled = getattr(one, "_compiled_call_impl", None) is not None
        if compiled or type(one).__name__ == "OptimizedModule":
            raise UsageError(
                "watch(model) must be the module before torch.compile, got a compiled"
                f" {type(getattr(one, '_orig_mod', one)).__name__}"
            )
    return tuple(models)


def optimizers(optimizer: Any) -> tuple[torch.optim.Optimizer, ...]:
    import torch

    found = []
    for given in _listed(optimizer):
        one = _unwrapped(given)
        if not isinstance(one, torch.optim.Optimizer):
            raise UsageError(
                "watch(optimizer=...) must be a torch.optim.Optimizer or a list of them, got"
                f" {type(given).__name__}"
            )
        found.append(one)
    return tuple(found)


def _unwrapped(optimizer: Any) -> Any:
    """What steps in the end: accelerate's wrapper is an Optimizer without groups of its own,
    Lightning's is none at all."""
    while "param_groups" not in getattr(optimizer, "__dict__", {}):
        inner = getattr(optimizer, "optimizer", None)
        if inner is None or inner is optimizer:
            break
        optimizer = inner
    return optimizer


def check_match(
    models: Sequence[torch.nn.Module], optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    from sweeper.program.models import optimizer_parameters

    if not models or not optimizers:
        return
    owned = {id(p) for model in models for p in model.parameters()}
    if not any(id(p) in owned for p in optimizer_parameters(optimizers)):
        names = ", ".join(type(model).__name__ for model in models)
        raise UsageError(
            f"watch(optimizer=...) must hold parameters of the model, got none of {names}"
        )


def schedulers_of(optimizers: Sequence[torch.optim.Optimizer]) -> list[str]:
    """Classes of the schedulers that exist already, as no list of them is kept anywhere."""
    from torch.optim.lr_scheduler import LRScheduler

    living = [o for o in gc.get_objects() if issubclass(type(o), LRScheduler)]
    return [
        type(s).__name__
        for s in living
        if any(_unwrapped(getattr(s, "optimizer", None)) is o for o in optimizers)
    ]


def checked_folder(folder: Any) -> Path | None:
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)):
        raise UsageError(f"watch(folder=...) must be a path, got {type(folder).__name__}")
    path = Path(folder).absolute()
    if path.exists() and not path.is_dir():
        raise UsageError(f"watch(folder=...) must be a folder, got the file {path}")
    others = [p.name for p in path.iterdir() if p.name not in RECORD_FILES] if path.is_dir() else []
    if others:
        raise UsageError(
            f"watch(folder=...) must hold nothing but an older record, got {sorted(others)[0]!r}"
            f" in {path}"
        )
    return path


def made_folder(path: Path | None) -> Path:
    """The run folder, empty."""
    try:
        if path is None:
            return _numbered(DEFAULT_FOLDER.absolute())
        path.mkdir(parents=True, exist_ok=True)
        for name in RECORD_FILES:
            (path / name).unlink(missing_ok=True)
    except OSError as error:
        place = path or DEFAULT_FOLDER.absolute()
        raise UsageError(
            f"watch(folder=...) must be a folder that can be written, got {place}: {error.strerror}"
        ) from None
    return path


def _numbered(base: Path) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(p.name) for p in base.iterdir() if p.name.isdecimal()), default=0)
    while True:
        with contextlib.suppress(FileExistsError):  # by another process, a moment ago
            (base / str(number)).mkdir()
            return base / str(number)
        number += 1
