"""`sweeper.SweeperCallback`: the check from inside a transformers Trainer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from transformers import Trainer, TrainerCallback

from sweeper.watching import Watched

GUARDED = (
    "_run_epoch", "_evaluate", "_finalize_training",
    "training_step", "evaluate", "get_batch_samples",
)  # fmt: skip
"""Methods through which an error leaves a Trainer's training, of whatever version: no event tells
of it."""


class SweeperCallback(TrainerCallback):  # type: ignore[misc]
    """Watches every ``trainer.train()`` and prints what was wrong and why when it is over.

    ``Trainer(..., callbacks=[SweeperCallback()])``. The record and its object are those of
    `sweeper.watch`; under ``sweeper check`` or ``sweeper fix`` the callback does nothing by itself.

    Args:
        folder: the run folder, replaced by each training; by default the next free
            ``.sweeper/watch/<number>``.
        quiet: print nothing; ``watched`` is there all the same.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, quiet: bool = False
    ) -> None:
        self.folder = folder
        self.quiet = quiet
        self.watched: Watched | None = None
        """The latest training: findings, causes, record, text."""
        self._trainer: Any = None
        Watched(folder=folder)  # a bad folder is told now

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._close(None)  # a training that ended by an error that nobody told
        watched = Watched(given.get("model"), given.get("optimizer"), folder=self.folder)
        watched.start()
        self.watched = watched
        self._trainer = _calling_trainer()
        if self._trainer is not None:
            for name in GUARDED:
                if callable(method := getattr(self._trainer, name, None)):
                    setattr(self._trainer, name, self._guard(method))

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._close(None)
        # Every process of a distributed training watches its own; one of them speaks.
        if not self.quiet and self.watched is not None and state.is_world_process_zero:
            print(self.watched)

    def _guard(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except BaseException as error:
                self._close(error)
                raise

        guarded.__wrapped__ = method  # type: ignore[attr-defined]
        return guarded

    def _close(self, error: BaseException | None) -> None:
        trainer, self._trainer = self._trainer, None
        for name in GUARDED:
            guard = vars(trainer).get(name) if trainer is not None else None
            method = getattr(guard, "__wrapped__", None)
            if method is None:
                continue
            delattr(trainer, name)
            if getattr(trainer, name, None) != method:  # the instance had one of its own
                setattr(trainer, name, method)
        if self.watched is not None:
            self.watched.finish(error)


def _calling_trainer() -> Any:
    """The Trainer that is training now: its events do not say."""
    frame = sys._getframe(1)
    while (outer := frame.f_back) is not None:
        frame = outer
        found = frame.f_locals.get("self")
        if isinstance(found, Trainer):
            return found
    return None
