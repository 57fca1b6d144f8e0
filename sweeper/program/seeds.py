"""Seeds: a run with seed k > 0 shifts every seed the program sets; a run with seed 0 leaves them.

Programs that set no seed are made repeatable: the global generators start from a value that depends
on the run's seed only, and a generator that is made without a seed takes its from a counter.

What shifts with a fresh seed: initial weights, order of batches, dropout, augmentation, and data
that the program draws or splits with generators of torch, numpy or random (`random_split`,
``default_rng(0).permutation``): a fresh sample of the same kind, for the fix and for its control
alike. What stays: how scikit-learn (``train_test_split``, ``make_moons``) and pandas
(``sample``) draw with ``random_state=NUMBER``. Such a number fixes the task rather than the
training - which rows are held out, which problem is posed - and a skill is compared with
the same task's. A generator *object* given as ``random_state`` shifts, since its seed was the
program's own.

Not within reach: ``os.urandom``, `secrets`, the clock, the order in which threads or processes
finish; a state put back whole (``torch.set_rng_state``); ``torch.default_generator.manual_seed``,
a method of a class that cannot be changed; and a library that draws while it is imported, when the
program seeds before that import.
"""

from __future__ import annotations

import functools
import multiprocessing
import random
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import torch

SHIFT = 1000
"""Seed k adds k * SHIFT:
far enough that a program's own seed, seed + 1, ... of several parts stay distinct."""

_TORCH_DEFAULT = 67280421310721  # what torch starts from when nobody seeds it
_TORCH_SEEDS = (-(2**63), 2**64)
_NUMPY_SEEDS = (0, 2**32)
_UNSHIFTED = ("sklearn.model_selection", "sklearn.datasets", "pandas.")
"""Callers whose ``random_state`` numbers fix the task."""

Patch = Callable[[Any, str, Callable[[Any], Any]], None]


class _Offset:
    value = 0
    asked: Callable[[], None] | None = None
    unseeded: ClassVar[Counter[str]] = Counter()
    """Generators without a seed so far, by the module that makes them: a library must not change
    what the program gets, only because it is imported before or after the fork."""
    inside = 0
    """Depth of calls that were shifted already: ``torch.manual_seed`` seeds the GPUs too."""


def shifted(seed: int, valid: tuple[int, int] | None = None) -> int:
    """`seed` of this run. `valid`: first and past-the-last value that the generator takes; a number
    outside is left to its own complaint, one inside stays inside."""
    _ask()
    if valid is None:
        return int(seed) + _Offset.value
    low, high = valid
    if not _Offset.value or not low <= seed < high:
        return seed
    return (int(seed) + _Offset.value - low) % (high - low) + low


def ask(question: Callable[[], None] | None) -> None:
    """Call ``question()`` ahead of every seed that a generator takes: it may fork, and the shift is
    another afterwards."""
    _Offset.asked = question


def _ask() -> None:
    if _Offset.asked is not None:
        _Offset.asked()


def start(seed: int) -> None:
    """Set the run's shift and start the global generators from it."""
    _Offset.value = seed * SHIFT
    _Offset.unseeded.clear()
    _real["random.seed"](20_000_003 + _Offset.value)
    _real["numpy.seed"]((20_000_003 + _Offset.value) % 2**32)
    _real["torch.manual_seed"](_TORCH_DEFAULT + _Offset.value)


def _next_unseeded() -> int:
    _ask()
    frame: FrameType | None = sys._getframe(1)
    module = ""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module not in (__name__, random.__name__) and not module.startswith("numpy."):
            break
        frame = frame.f_back
    _Offset.unseeded[module] += 1
    maker = zlib.crc32(module.encode()) + _Offset.unseeded[module]
    # Workers have the counter of the process that they were forked from: () or (3,) or (3, 1).
    process: tuple[int, ...] = getattr(multiprocessing.current_process(), "_identity", ())
    place: int = sum(number * 1_000_003**depth for depth, number in enumerate(process, 1))
    return maker + _Offset.value + place


_real: dict[str, Any] = {
    "random.seed": random.seed,
    "random.Random.seed": random.Random.seed,
    "numpy.seed": np.random.seed,
    "numpy.default_rng": np.random.default_rng,
    "torch.manual_seed": torch.manual_seed,
}


class _Stands(type):
    """A class that also owns the instances of its base, for which it stands in: the libraries have
    made some before (``numpy.random.mtrand._rand``, ``torch.default_generator``)."""

    def _base(cls) -> type:
        return cls.__mro__[1] if cls.__module__ == __name__ else cls  # else a program's subclass

    def __instancecheck__(cls, instance: object) -> bool:
        return type.__instancecheck__(cls._base(), instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return type.__subclasscheck__(cls._base(), subclass)


# -- torch -----------------------------------------------------------------------------------------


class _StandsForTorch(_Stands, type(torch.Generator)):  # type: ignore[misc]
    """The same: torch's class may have a metaclass of its own."""


class ShiftedGenerator(torch.Generator, metaclass=_StandsForTorch):
    """torch.Generator whose seeds are shifted too: its class cannot be patched itself."""

    def __new__(cls, *args: Any, **options: Any) -> ShiftedGenerator:
        _ask()
        generator: ShiftedGenerator = super().__new__(cls, *args, **options)
        if _Offset.value:
            torch._C.Generator.manual_seed(generator, _TORCH_DEFAULT + _Offset.value)
        return generator

    def manual_seed(self, seed: int) -> torch.Generator:
        super().manual_seed(shifted(seed, _TORCH_SEEDS))
        return self

    def seed(self) -> int:
        super().manual_seed(_next_unseeded())
        return self.initial_seed()


@contextmanager
def _once() -> Iterator[None]:
    _Offset.inside += 1
    try:
        yield
    finally:
        _Offset.inside -= 1


def torch_manual_seed(seed: int) -> torch.Generator:
    with _once():
        generator: torch.Generator = _real["torch.manual_seed"](shifted(int(seed), _TORCH_SEEDS))
    return generator


def torch_seed() -> int:
    with _once():
        _real["torch.manual_seed"](value := _next_unseeded())
    return value


def _device_seed(original: Callable[[int], Any]) -> Callable[[int], Any]:
    """``torch.cuda.manual_seed`` and its like."""

    def manual_seed(seed: int) -> Any:
        return original(int(seed) if _Offset.inside else shifted(int(seed), _TORCH_SEEDS))

    return manual_seed


def _device_unseeded(manual_seed: Callable[[int], Any]) -> Callable[[], Any]:
    return lambda: manual_seed(_next_unseeded())


# -- numpy -----------------------------------------------------------------------------------------


def _numpy_seed_value(seed: Any, valid: tuple[int, int] | None) -> Any:
    """A seed as numpy takes it: nothing, a number, a sequence of numbers, or an object with a state
    of its own, which is left as it is."""
    _ask()
    if seed is None:
        return _next_unseeded() % 2**32
    if isinstance(seed, (int, np.integer)):
        low_enough = valid is not None or seed >= 0
        return shifted(int(seed), valid) if low_enough else seed
    if isinstance(seed, (list, tuple, np.ndarray, range)) and len(seed) and _Offset.value:
        numbers = np.asarray(seed).ravel()
        if np.issubdtype(numbers.dtype, np.integer) and (numbers >= 0).all():
            values = [int(number) for number in numbers]
            return [shifted(values[0], valid), *values[1:]]
    return seed


def numpy_seed(seed: Any = None) -> None:
    _real["numpy.seed"](_numpy_seed_value(seed, _NUMPY_SEEDS))


def numpy_default_rng(seed: Any = None) -> np.random.Generator:
    generator: np.random.Generator = _real["numpy.default_rng"](_numpy_seed_value(seed, None))
    return generator


def _fixes_the_task() -> bool:
    """Whether a library that draws or splits data makes the generator."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(5):  # check_random_state, and what called it
        if frame is None:
            return False
        if str(frame.f_globals.get("__name__", "")).startswith(_UNSHIFTED):
            return True
        frame = frame.f_back
    return False


class ShiftedRandomState(np.random.RandomState, metaclass=_Stands):
    """numpy's old generator."""

    def __init__(self, seed: Any = None) -> None:
        task = seed is not None and _fixes_the_task()
        super().__init__(seed if task else _numpy_seed_value(seed, _NUMPY_SEEDS))

    def seed(self, seed: Any = None) -> None:
        super().seed(_numpy_seed_value(seed, _NUMPY_SEEDS))


def _shifted_source(original: type[Any]) -> type[Any]:
    """A `SeedSequence` or bit generator class with shifted seeds."""

    def __init__(self: Any, seed: Any = None, *args: Any, **options: Any) -> None:
        if "entropy" in options:  # SeedSequence's name for it
            seed = options.pop("entropy")
        if seed is not None or (not args and options.get("key") is None):  # Philox takes a key
            seed = _numpy_seed_value(seed, None)
        original.__init__(self, seed, *args, **options)

    return _Stands(
        original.__name__,
        (original,),
        {"__init__": __init__, "__doc__": original.__doc__, "__module__": __name__},
    )


_SOURCES = ("SeedSequence", "PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
SeedSequence, PCG64, PCG64DXSM, MT19937, Philox, SFC64 = (
    _shifted_source(getattr(np.random, name)) for name in _SOURCES
)  # names of this module, so that instances can be pickled


# -- random ----------------------------------------------------------------------------------------


def _python_seed(a: Any) -> Any:
    if a is None:
        return _next_unseeded()
    if isinstance(a, int):
        return shifted(a)
    if _Offset.value and isinstance(a, (str, bytes, bytearray, float)):
        return f"{a!r}+{_Offset.value}"
    return a


def random_seed(a: Any = None, version: int = 2) -> None:
    _real["random.seed"](_python_seed(a), version)


def random_object_seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    _real["random.Random.seed"](self, _python_seed(a), version)


class _PlainRandom(random.Random):
    """Without a fixed seed: names of temporary files must differ between processes."""

    def seed(self, a: Any = None, version: int = 2) -> None:
        _real["random.Random.seed"](self, a, version)


def _stand_in(name: str, original: Any) -> Any:
    return globals()[name]


# -- putting them in place -------------------------------------------------------------------------


def patch_seeds(patch: Patch, watched: Callable[[], bool]) -> None:
    """Every way to seed a generator; functions only while ``watched`` says so."""

    def while_watched(replacement: Any) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            @functools.wraps(original)
            def seeded(*args: Any, **kwargs: Any) -> Any:
                return (replacement if watched() else original)(*args, **kwargs)

            return seeded

        return make

    def device_seed(original: Any) -> Any:
        return while_watched(_device_seed(original))(original)

    for owner in (torch, torch.random):
        patch(owner, "manual_seed", while_watched(torch_manual_seed))
        patch(owner, "seed", while_watched(torch_seed))
    for device in (torch.cuda, torch.cuda.random, torch.xpu, torch.xpu.random, torch.mps):
        for seed, unseeded in (("manual_seed", "seed"), ("manual_seed_all", "seed_all")):
            if hasattr(device, seed) and hasattr(device, unseeded):
                patch(device, unseeded, while_watched(_device_unseeded(getattr(device, seed))))
                patch(device, seed, device_seed)
    patch(torch, "Generator", lambda original: ShiftedGenerator)
    patch(np.random, "seed", while_watched(numpy_seed))
    patch(np.random, "default_rng", while_watched(numpy_default_rng))
    for owner in (np.random, np.random.mtrand):
        patch(owner, "RandomState", lambda original: ShiftedRandomState)
    for name in _SOURCES:
        patch(np.random, name, functools.partial(_stand_in, name))
    patch(random, "seed", while_watched(random_seed))
    patch(random.Random, "seed", while_watched(random_object_seed))
    patch(tempfile, "_Random", lambda original: _PlainRandom)
