"""Parameters of an optimizer that belong to no module: tensors of a program that builds none, or a
temperature and a prototype table beside one.

They are put into a module of our own that is never called, each in a holder under the name that the
program has for it. So they have a path, a layer and statistics like all others.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

_OURS = str(Path(__file__).resolve().parents[1])
_TORCH = str(Path(torch.__file__).resolve().parent)


class Held(nn.Module):
    """One tensor; ``weight`` if it is a matrix, else ``value``."""

    def __init__(self, tensor: torch.Tensor) -> None:
        super().__init__()
        # Not register_parameter: a plain tensor that requires a gradient is one here too.
        self._parameters["weight" if tensor.dim() == 2 else "value"] = tensor  # type: ignore[assignment]

    @property
    def tensor(self) -> torch.Tensor:
        """The program's own object."""
        return next(t for t in self._parameters.values() if t is not None)


class LooseParameters(nn.Module):
    """Holders by name."""

    def __init__(self, named: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in named.items():
            self.add_module(name, Held(tensor))

    def holders(self) -> dict[int, Held]:
        """id of the tensor -> its holder."""
        return {id(h.tensor): h for h in self.children() if isinstance(h, Held)}


def loose_parameters(
    parameters: Iterable[torch.Tensor], roots: Iterable[nn.Module]
) -> LooseParameters | None:
    """A module of the ``parameters`` that no root holds; None when there are none."""
    roots = list(roots)
    owned = {id(p) for root in roots for p in root.parameters()}
    left = [p for p in parameters if id(p) not in owned]
    if not left:
        return None
    taken = {name for root in roots for name, _ in root.named_children()}
    return LooseParameters(_named(left, taken))


def _named(parameters: list[torch.Tensor], taken: set[str]) -> dict[str, torch.Tensor]:
    wanted = {id(p) for p in parameters}
    names: dict[int, str] = {}
    for scope in _program_scopes():
        for name, value in scope.items():
            with contextlib.suppress(Exception):  # of an object of the program that is looked into
                for text, tensor in _tensors(name, value):
                    if id(tensor) in wanted:
                        names.setdefault(id(tensor), text)
    found: dict[str, torch.Tensor] = {}
    for position, parameter in enumerate(parameters):
        name = names.get(id(parameter), f"parameter[{position}]").replace(".", "_")
        while name in found or name in taken or hasattr(nn.Module, name):
            name += "_"
        found[name] = parameter
    return found


def _program_scopes() -> Iterator[Mapping[str, Any]]:
    """Local and global names of the program's running functions, innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_OURS, _TORCH, "<")):
            yield dict(frame.f_locals)
            yield frame.f_globals
        frame = frame.f_back  # type: ignore[assignment]


def _tensors(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that a variable is or holds, with the text that names them in the program."""
    kind = type(value)  # isinstance would run the __class__ of lazy proxies
    if issubclass(kind, torch.Tensor):
        yield name, value
    elif issubclass(kind, (list, tuple)):
        yield from (
            (f"{name}[{i}]", v) for i, v in enumerate(value) if issubclass(type(v), torch.Tensor)
        )
    elif issubclass(kind, dict):
        yield from (
            (str(k), v) for k, v in list(value.items()) if issubclass(type(v), torch.Tensor)
        )
    elif name == "self":
        yield from ((k, v) for k, v in vars(value).items() if issubclass(type(v), torch.Tensor))
