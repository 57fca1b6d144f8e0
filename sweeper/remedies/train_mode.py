"""Train in train mode, where the program forgot to leave eval mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy, just_on, no_space
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


def refusal(facts: Facts) -> str:
    return "" if facts.trained_in_eval_mode else "the program trains in train mode already"


def apply(session: Session, value: FixValue) -> None:
    switched: set[int] = set()
    calls = 0

    def switch(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        import torch

        nonlocal calls
        if torch.is_grad_enabled():
            if not module.training:
                module.train()
                if not module.training:
                    kind = type(module).__name__
                    session.refuse("train_mode", f"the train() of {kind} keeps it in eval mode")
                switched.add(id(module))
            if id(module) in switched:
                calls += 1
                session.confirm("train_mode", calls=calls)
        elif module.training and id(module) in switched:
            module.eval()  # the program believes that it still is
        return args, kwargs

    session.on_input(switch)


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(record, "train_mode", "calls", "training forward was in eval mode")


def advice(value: FixValue, facts: Facts) -> str:
    return "model.train()  # at the start of every epoch, after each evaluation"


REMEDY = Remedy(
    name="train_mode",
    summary="train in train mode",
    source="torch.nn.Module.train: dropout and batch normalisation behave differently in eval mode",
    treats=(Cause.TRAINED_IN_EVAL_MODE,),
    structural=False,
    space=no_space,
    refusal=refusal,
    suggest=just_on,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=_values.flag("train_mode"),
)
