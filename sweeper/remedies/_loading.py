"""A program that saves its model and loads it back the safe way names the classes it knows; what a
surgery put in is not among them. Imports torch: child only."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

HERE = __name__.rpartition(".")[0]


def allow_loading() -> None:
    """``torch.load`` of weights only accepts torch's own layers and what remedies hook to them.

    Call it when surgery is done: only modules that are imported already are looked at.
    """
    torch.serialization.add_safe_globals([*_layers(), *_functions(), *_ours()])


def _layers() -> list[Callable[..., object]]:
    return [
        value
        for value in vars(nn).values()
        if inspect.isclass(value) and issubclass(value, nn.Module)
    ]


def _functions() -> list[Callable[..., object]]:
    """An activation may be an attribute (that of a transformer's layer is)."""
    named = [v for k, v in vars(functional).items() if not k.startswith("_")]
    return [v for v in named if inspect.isbuiltin(v) or inspect.isfunction(v)]


def _ours() -> list[Callable[..., object]]:
    return [
        value
        for name, module in list(sys.modules.items())
        if name.startswith(f"{HERE}._")
        for value in vars(module).values()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == name
    ]
