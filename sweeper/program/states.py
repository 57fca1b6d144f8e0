"""State that the program loads into its modules: which parameters are pretrained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakTensorKeyDictionary

State = Mapping[str, Any]
LoadCallback = Callable[[nn.Module, State], State]


class States:
    """Knows which parameters hold values that were loaded before training; ``in`` asks for one."""

    def __init__(self) -> None:
        self.training = False
        """A step was made: what is loaded from now on is no pretraining."""
        self._loaded = WeakTensorKeyDictionary()
        self._marks: set[tuple[Any, ...]] = set()
        self._callbacks: list[LoadCallback] = []

    def __contains__(self, parameter: torch.Tensor) -> bool:
        return parameter in self._loaded

    def on_load(self, callback: LoadCallback) -> None:
        """``callback(module, state) -> state`` before ``module.load_state_dict(state)``."""
        self._callbacks.append(callback)

    def seam_load(self, module: nn.Module, state: Any, load: Callable[[Any], Any]) -> Any:
        """Stands around ``load(state)``. Values that the module had before do not count as loaded:
        a model put back to its own start is not pretrained."""
        if not isinstance(state, Mapping):
            return load(state)
        for callback in self._callbacks:
            state = callback(module, state)
        if self.training:
            return load(state)
        before = module.named_parameters(remove_duplicate=False)
        new = [n for n, p in before if n in state and not _equal(p, state[n])]
        result = load(state)
        after = dict(module.named_parameters(remove_duplicate=False))
        for name in new:
            self._loaded[after[name]] = True
            if mark := _mark(after[name]):
                self._marks.add(mark)
        return result

    def spread(self, roots: Iterable[nn.Module]) -> None:
        """Count the copies of loaded parameters too, and what transformers read from files."""
        for root in roots:
            for parameter in root.parameters():
                # transformers marks what from_pretrained read; what it drew anew has no mark.
                read = getattr(parameter, "_is_hf_initialized", False)
                if read or (self._marks and _mark(parameter) in self._marks):
                    self._loaded[parameter] = True
            for module in root.modules():
                named = getattr(getattr(module, "config", None), "_name_or_path", "")
                if named and not any(p in self._loaded for p in module.parameters()):
                    for parameter in module.parameters():  # a copy, which has lost the marks
                        self._loaded[parameter] = True


def _equal(parameter: torch.Tensor, given: Any) -> bool:
    if not isinstance(given, torch.Tensor) or is_lazy(parameter) or parameter.is_meta:
        return False
    same_shape = parameter.shape == given.shape
    return same_shape and torch.equal(parameter.detach(), given.detach().to(parameter))


def _mark(parameter: torch.Tensor) -> tuple[Any, ...]:
    """What tells a tensor of drawn or trained numbers from others; nothing for a constant one."""
    if is_lazy(parameter) or parameter.is_meta or parameter.numel() < 2:
        return ()
    values = parameter.detach().flatten()[:: max(1, parameter.numel() // 8)].double().tolist()
    return (tuple(parameter.shape), *values) if len(set(values)) > 1 else ()
