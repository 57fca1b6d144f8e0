"""Where the runs of a program part.

Until it draws a random number, builds a parameter, writes a file, starts a thread or touches
anything else that differs from run to run or that processes cannot share, every run of a program
does the same. A process that has come so far can be forked once per run. `ForkPoint` stops the
program at the first such call, ahead of it.

Seeds that the program sets on the way do not end it: they are noted, and set again in each run with
that run's shift. That is right because nothing was drawn in between, which is checked by the states
of the generators. Calls that no trap sees (native code, a function that a library took by name
before) are found by what they leave: states, threads, descriptors, shared memory, files in the
overlay. Then there is an objection, and the program is not forked.
"""

from __future__ import annotations

import copy
import functools
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from sweeper.program import _fork_safety, seams, seeds
from sweeper.program._after_import import after_import

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EVENTS = frozenset(
    (
        *("os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.rename"),
        *("os.link", "os.symlink", "os.setxattr", "os.removexattr", "os.chflags", "os.chdir"),
        *("os.fchdir", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn"),
        *("os.system", "os.kill", "os.killpg", "os.lockf", "fcntl.flock", "fcntl.lockf"),
        *("subprocess.Popen", "pty.spawn", "sqlite3.connect", "_thread.start_new_thread"),
    )
)
"""Audit events of what runs do not share, with every event of sockets but the harmless ones."""
_HARMLESS_SOCKETS = frozenset(("socket.gethostname",))
_DRAWS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (
        torch,
        (
            *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"),
            *("poisson", "binomial", "rand_like", "randn_like", "randint_like", "dropout"),
            *("seed", "initial_seed", "get_rng_state", "set_rng_state", "set_num_threads"),
            *("set_num_interop_threads", "set_default_device"),
        ),
    ),
    (torch.random, ("seed", "initial_seed", "get_rng_state", "set_rng_state", "fork_rng")),
    (
        torch.Tensor,
        (
            *("uniform_", "normal_", "random_", "bernoulli_", "exponential_", "cauchy_"),
            *("geometric_", "log_normal_", "bernoulli", "multinomial", "share_memory_"),
        ),
    ),
    (torch.cuda, ("_lazy_init",)),
    (nn.Module, ("register_parameter",)),
    (np.random, ("default_rng", "get_state", "set_state")),
    (random.Random, ("seed",)),
    (random, ("_urandom",)),
    (os, ("urandom",)),
    (threading.Thread, ("start",)),
    (signal, ("signal", "setitimer", "alarm")),
)
"""Owner and names of what ends the common part. Draws, and generators that are read or made; a
parameter, since its values are drawn; what a fork does not survive."""
_SEEDS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (torch, ("manual_seed",)),
    (torch.random, ("manual_seed",)),
    (torch.cuda, ("manual_seed", "manual_seed_all")),
    (torch.cuda.random, ("manual_seed", "manual_seed_all")),
    (np.random, ("seed",)),
    (random, ("seed",)),
)
_ABSENT = object()


class ForkPoint:
    """Arm it, run the program; ``reached(reason)`` is called ahead of the call that ends the common
    part and returns only in the children, whose program then goes on."""

    def __init__(self, reached: Callable[[str], None]) -> None:
        self._reached = reached
        self._armed = False
        self._seeding = False
        self._undo: list[tuple[Any, str, Any, Any, Any]] = []
        self._seeded: list[tuple[Callable[..., Any], Any, Any]] = []
        self._states: Any = None
        self._imported: set[str] = set()
        self._safety = _fork_safety.Safety()
        self._bytecode = sys.dont_write_bytecode

    def arm(self) -> None:
        """From now on; the seams' trampolines must be in place and no session be watched."""
        self._bytecode = sys.dont_write_bytecode
        sys.dont_write_bytecode = True  # else a first import would end the common part
        after_import("tqdm.std", _quiet_tqdm)
        for owner, names in (*_DRAWS, (np.random, _numpy_draws()), (random, _random_draws())):
            for name in names:
                self._trap(owner, name)
        known = np.random.mtrand._rand
        self._replace(
            np.random.mtrand,
            "_rand",
            _Known(known, self._taken),
            known,
        )
        if (locks := sys.modules.get("multiprocessing.synchronize")) is not None:
            self._trap(locks.SemLock, "__init__")
        for owner, names in _SEEDS:
            for name in names:
                self._note(owner, name)
        sys.addaudithook(self._audit)
        seams.ask(functools.partial(self._reach, "a loader, an optimizer, a loss or weights"))
        seeds.ask(functools.partial(self._reach, "a generator is made"))
        self._states = _states()
        self._imported = set(sys.modules)
        self._safety.begin()
        self._armed = True

    def objection(self) -> str:
        """Why this process must not be forked for runs after all, or the empty string."""
        if not _same(self._states, _states()):
            return "random numbers were drawn past every trap"
        return self._safety.objection()

    def leave(self) -> None:
        """In a child: take the traps away."""
        seams.ask(None)
        seeds.ask(None)
        sys.dont_write_bytecode = self._bytecode
        originals = {id(trap): original for _, _, _, trap, original in self._undo}
        while self._undo:
            owner, name, own, trap, _ = self._undo.pop()
            if owner.__dict__.get(name) is not trap:
                continue  # somebody put something else in its place
            if own is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
        # ``from torch import randn`` meanwhile. To look through all modules would copy their pages.
        for module_name, module in list(sys.modules.items()):
            new = module_name not in self._imported or module_name == "__main__"
            if new and isinstance(module, ModuleType):
                for name, value in list(vars(module).items()):
                    if id(value) in originals:
                        setattr(module, name, originals[id(value)])
        if (std := sys.modules.get("tqdm.std")) is not None:
            _free_tqdm(std)
        self._safety.own_files()

    def seed_again(self) -> None:
        """In a child whose generators stand where a run starts: the seeds that the program has set,
        in their order, as the seams set them now."""
        for seed, args, kwargs in self._seeded:
            seed(*args, **kwargs)

    def _reach(self, reason: str) -> None:
        if self._armed and os.getpid() == self._safety.pid:
            self._armed = False
            self._reached(reason)

    def _taken(self) -> None:
        if not self._seeding:  # numpy.random.seed looks it up as well
            self._reach("numpy's generator")

    def _replace(self, owner: Any, name: str, trap: Any, original: Any) -> None:
        self._undo.append((owner, name, owner.__dict__.get(name, _ABSENT), trap, original))
        setattr(owner, name, trap)

    def _trap(self, owner: Any, name: str) -> None:
        original = getattr(owner, name, None)
        if original is None:
            return

        @functools.wraps(original)
        def trap(*args: Any, **kwargs: Any) -> Any:
            if name != "_urandom" or not _seeds_a_task():
                self._reach(name)
            return original(*args, **kwargs)

        self._replace(owner, name, trap, original)

    def _note(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def seed(*args: Any, **kwargs: Any) -> Any:
            given = [*args, *kwargs.values()]
            if self._armed and not self._seeding and (not given or given[0] is None):
                self._reach(f"{name} without a seed")
            if not self._armed or self._seeding:
                return original(*args, **kwargs)
            self._seeding = True  # torch.manual_seed seeds the GPUs too
            try:
                result = original(*args, **kwargs)
            finally:
                self._seeding = False
            self._seeded.append((original, copy.deepcopy(args), copy.deepcopy(kwargs)))
            self._states = _states()
            return result

        self._replace(owner, name, seed, original)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        # A hook cannot be taken back; in the children it is idle.
        if self._armed and _ends(event, arguments):
            self._reach(event)


class _Known:
    """Stands for numpy's global generator, which libraries take by its name (``check_random_state``
    of scikit-learn and SciPy)."""

    def __init__(self, known: np.random.RandomState, taken: Callable[[], None]) -> None:
        self.__dict__.update(known=known, taken=taken)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.__dict__["known"])

    def __getattr__(self, name: str) -> Any:
        self.__dict__["taken"]()
        return getattr(self.__dict__["known"], name)


def _ends(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = arguments
        return isinstance(path, (str, bytes)) and bool(flags & _WRITING)
    if event == "os.mkdir":
        # It fails as it would in each run: ``os.makedirs(folder, exist_ok=True)``.
        return not os.path.lexists(arguments[0])
    if event == "mmap.__new__":
        return bool(arguments[0] == -1)  # memory that children would share
    if event.startswith("socket."):
        return event not in _HARMLESS_SOCKETS
    return event in _EVENTS


def _seeds_a_task() -> bool:
    """numpy's old generator takes a seed from the system before it takes the number that it is
    given, here one that fixes the task (`seeds.ShiftedRandomState`)."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == random.__name__:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == seeds.__name__


def _numpy_draws() -> tuple[str, ...]:
    own = np.random.mtrand._rand
    methods = {name for name in dir(own) if not name.startswith("_") and name != "seed"}
    return tuple(n for n in sorted(methods) if getattr(np.random, n, None) == getattr(own, n))


def _random_draws() -> tuple[str, ...]:
    own = random._inst
    methods = {name for name in random.__all__ if name != "seed"}
    return tuple(n for n in methods if getattr(getattr(random, n), "__self__", None) is own)


_get_torch_state = torch.default_generator.get_state
_get_numpy_state = np.random.mtrand._rand.get_state
_get_random_state = random.getstate


def _states() -> tuple[Any, ...]:
    numpy_state = _get_numpy_state(legacy=False)
    inner = numpy_state["state"]
    return (
        bytes(_get_torch_state().numpy()),
        (inner["key"].tobytes(), inner["pos"], numpy_state["has_gauss"], numpy_state["gauss"]),
        _get_random_state(),
    )


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one == other


def _quiet_tqdm(std: ModuleType) -> None:
    """No monitor thread, no lock in shared memory: a bar's own two reasons not to be forked. A
    killed run would leave a shared lock taken for all others."""
    std.tqdm.monitor_interval, std.tqdm._sweeper_interval = 0, std.tqdm.monitor_interval
    std.TqdmDefaultWriteLock._sweeper_make = std.TqdmDefaultWriteLock.__dict__["create_mp_lock"]
    std.TqdmDefaultWriteLock.create_mp_lock = classmethod(_no_shared_lock)


def _no_shared_lock(cls: Any) -> None:
    cls.mp_lock = None


def _free_tqdm(std: ModuleType) -> None:
    if hasattr(std.tqdm, "_sweeper_interval"):
        std.tqdm.monitor_interval = std.tqdm._sweeper_interval
        std.TqdmDefaultWriteLock.create_mp_lock = std.TqdmDefaultWriteLock._sweeper_make
        for owner, names in (
            (std.tqdm, ("_sweeper_interval", "_lock")),
            (std.TqdmDefaultWriteLock, ("_sweeper_make", "mp_lock")),
        ):
            for name in names:
                if name in owner.__dict__:
                    delattr(owner, name)
