"""Seeds: a run with seed k > 0 shifts every seed the program sets; a run with seed 0 leaves them.

Programs that set no seed are made repeatable: the global generators start from a value that depends
on the run's seed only, and ``default_rng()`` without a seed draws from a counter.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

SHIFT = 1000
"""Seed k adds k * SHIFT:
far enough that a program's own seed, seed + 1, ... of several parts stay distinct."""

_TORCH_DEFAULT = 67280421310721  # what torch starts from when nobody seeds it


class _Offset:
    value = 0
    unseeded = 0


def shifted(seed: int) -> int:
    return int(seed) + _Offset.value


def start(seed: int) -> None:
    """Set the run's shift and start the global generators from it."""
    _Offset.value = seed * SHIFT
    _Offset.unseeded = 0
    _real["random.seed"](20_000_003 + _Offset.value)
    _real["numpy.seed"]((20_000_003 + _Offset.value) % 2**32)
    _real["torch.manual_seed"](_TORCH_DEFAULT + _Offset.value)


class ShiftedGenerator(torch.Generator):
    """torch.Generator whose explicit seeds are shifted too: its class cannot be patched itself."""

    def manual_seed(self, seed: int) -> torch.Generator:
        super().manual_seed(shifted(seed))
        return self

    def seed(self) -> int:
        super().manual_seed(_next_unseeded())
        return self.initial_seed()


def _next_unseeded() -> int:
    _Offset.unseeded += 1
    return 40_000_003 + _Offset.value + _Offset.unseeded


_real: dict[str, Any] = {
    "random.seed": random.seed,
    "numpy.seed": np.random.seed,
    "numpy.default_rng": np.random.default_rng,
    "torch.manual_seed": torch.manual_seed,
}


def torch_manual_seed(seed: int) -> torch.Generator:
    generator: torch.Generator = _real["torch.manual_seed"](shifted(seed))
    return generator


def torch_seed() -> int:
    _real["torch.manual_seed"](value := _next_unseeded())
    return value


def numpy_seed(seed: Any = None) -> None:
    if seed is None:
        seed = _next_unseeded()
    elif isinstance(seed, (int, np.integer)):
        seed = shifted(int(seed)) % 2**32
    _real["numpy.seed"](seed)


def numpy_default_rng(seed: Any = None) -> np.random.Generator:
    if seed is None:
        seed = _next_unseeded()
    elif isinstance(seed, (int, np.integer)):
        seed = shifted(int(seed))
    generator: np.random.Generator = _real["numpy.default_rng"](seed)
    return generator


def random_seed(a: Any = None, version: int = 2) -> None:
    if a is None:
        a = _next_unseeded()
    elif isinstance(a, int):
        a = shifted(a)
    elif _Offset.value:
        a = f"{a!r}+{_Offset.value}"
    _real["random.seed"](a, version)
