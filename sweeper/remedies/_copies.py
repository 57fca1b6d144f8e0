"""Copies of a model that the program keeps: averages of its weights, target networks, the momentum
encoder beside the trained one. Surgery on the model is done on them too. Imports torch: child only.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sweeper.program.models import living_modules
from sweeper.program.states import States

Key = tuple[type[nn.Module], tuple[tuple[str, torch.Size], ...]]
ADDED = "sweeper_"
"""Beginning of the names of the modules that surgery adds."""


class Copies:
    """Module of a trained model -> its copies.

    A living module is a copy when it has the class, the parameters and their very values, is not
    trained itself, and was not loaded from elsewhere as the model was (a teacher).
    """

    def __init__(self, roots: list[nn.Module], trained: set[int], states: States) -> None:
        living = living_modules()
        self._known = weakref.WeakSet(living)
        self._operated = weakref.WeakSet(m for root in roots for m in root.modules())
        self._of: dict[int, list[nn.Module]] = {}
        others: dict[Key, list[nn.Module]] = {}
        for module in living:
            untrained = not any(id(p) in trained for p in module.parameters())
            if untrained and (key := _key(module)) is not None:
                others.setdefault(key, []).append(module)
        if not others:
            return
        for module in [m for root in roots for m in root.modules()]:
            if not any(id(p) in trained for p in module.parameters()):
                continue
            for other in others.get(_key(module) or _NONE, ()):
                if _same_values(module, other) and not _both_loaded(module, other, states):
                    self.pair(module, other)

    def of(self, module: nn.Module) -> list[nn.Module]:
        return self._of.get(id(module), [])

    def pair(self, module: nn.Module, copy: nn.Module) -> None:
        """``copy`` and its parts are copies of ``module`` and its parts."""
        parts = dict(copy.named_modules())
        for name, part in module.named_modules():
            known = self.of(part)
            if name in parts and not any(parts[name] is other for other in known):
                self._of[id(part)] = [*known, parts[name]]
        self._operated.update(parts.values())

    def model_of(
        self, other: nn.Module, state: Mapping[str, Any], roots: Iterable[nn.Module]
    ) -> nn.Module | None:
        """The module that ``other`` becomes another instance of by loading ``state``, if any.

        It was built after the surgery, or it is given the very values of the model (a target
        network at its first update). Anything else of the same class is a model of its own.
        """
        key = _key(other)
        if key is None or other in self._operated:
            return None
        found = [m for root in roots for m in root.modules() if _key(m) == key]
        if len(found) != 1 or (other in self._known and not _holds(state, found[0])):
            return None
        return found[0]


_NONE: Key = (nn.Module, ())


def _key(module: nn.Module) -> Key | None:
    """Class and parameters, those of surgery left out; None without a matrix."""
    named = _own_parameters(module)
    if any(is_lazy(p) for _, p in named) or not any(p.dim() > 1 for _, p in named):
        return None
    return type(module), tuple((name, p.shape) for name, p in named)


def _own_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Those that surgery added left out."""
    return [
        (name, parameter)
        for name, parameter in module.named_parameters()
        if not any(part.startswith(ADDED) for part in name.split("."))
    ]


def _same_values(module: nn.Module, other: nn.Module) -> bool:
    """Equal and not all constant: two fresh normalisations are equal without being copies."""
    own = _own_parameters(module), _own_parameters(other)
    pairs = [(a, b) for (_, a), (_, b) in zip(*own, strict=True)]
    if any(a is b or a.is_meta or b.is_meta for a, b in pairs):
        return False
    return all(a.device == b.device and torch.equal(a, b) for a, b in pairs) and any(
        bool((a != a.flatten()[0]).any()) for a, _ in pairs if a.numel()
    )


def _holds(state: Mapping[str, Any], module: nn.Module) -> bool:
    """Whether a state is that of the module as it is now."""
    for name, parameter in _own_parameters(module):
        given = state.get(name)
        if not isinstance(given, torch.Tensor) or given.shape != parameter.shape:
            return False
        if not torch.equal(given.detach().to(parameter), parameter):
            return False
    return True


def _both_loaded(module: nn.Module, other: nn.Module, states: States) -> bool:
    return all(any(p in states for p in m.parameters()) for m in (module, other))


def pairs_of(module: nn.Module, copies: Copies) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """The module's own parameters, each beside that of each copy."""
    for copy in copies.of(module):
        for name, parameter in module.named_parameters(recurse=False):
            twin = copy._parameters.get(name)
            if isinstance(twin, nn.Parameter):
                yield parameter, twin
