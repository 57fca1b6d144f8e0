"""Whether a process that has run part of a program may be forked for several runs: what has come
into being since `Safety.begin` that processes would share, or that a fork does not carry over."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sweeper.program._outside_clients import CLIENTS

_HOOKS = (
    *("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks"),
    *("_global_backward_pre_hooks", "_global_module_registration_hooks"),
    *("_global_parameter_registration_hooks", "_global_buffer_registration_hooks"),
)
"""Of torch.nn.modules.module: the order among them would be another than in a fresh process."""


class Safety:
    """The state of this process when the program starts, and what has changed since."""

    def __init__(self) -> None:
        self.pid = 0
        self._descriptors: set[int] = set()
        self._shared: set[str] = set()
        self._hooks: dict[str, int] = {}
        self._call: Any = None

    def begin(self) -> None:
        self.pid = os.getpid()
        self._descriptors = set(_descriptors())
        self._shared = _shared_memory()
        self._hooks = _hook_counts()
        self._call = nn.Module.__call__

    def objection(self) -> str:
        """In words, or the empty string."""
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            return f"{threads} threads are alive"
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return "CUDA is initialised"
        if Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").strip():
            return "other processes were started"
        if any(signal.getitimer(timer)[0] for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF)):
            return "a timer runs"
        if found := [name for name in CLIENTS if name in sys.modules]:
            return f"{found[0]} is imported, which may hold connections"
        return self._objection_of_torch() or self._objection_of_files()

    def _objection_of_torch(self) -> str:
        from torch.overrides import _get_current_function_mode_stack
        from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

        stacks: list[Any] = [_get_current_function_mode_stack, _get_current_dispatch_mode_stack]
        if any(stack() for stack in stacks):
            return "a mode of torch is in force"
        if torch.is_inference_mode_enabled() or torch.is_autocast_enabled():
            return "inference mode or autocast is in force"
        if _hook_counts() != self._hooks or nn.Module.__call__ is not self._call:
            return "hooks for all modules were registered"
        return ""

    def _objection_of_files(self) -> str:
        for number in self._new():
            flags = fcntl.fcntl(number, fcntl.F_GETFL)
            kind = os.fstat(number).st_mode
            if stat.S_ISREG(kind) and flags & os.O_ACCMODE == os.O_RDONLY:
                continue
            if stat.S_ISCHR(kind) and os.readlink(f"/proc/self/fd/{number}").startswith("/dev/"):
                continue
            return f"{os.readlink(f'/proc/self/fd/{number}')} is open, which runs cannot share"
        if _shared_memory() - self._shared:
            return "memory is shared with other processes"
        return ""

    def own_files(self) -> None:
        """In a child: each file that the program reads gets a place of its own to read from, which
        a fork alone would share with all other runs."""
        for number in self._new():
            if stat.S_ISREG(os.fstat(number).st_mode):
                flags = fcntl.fcntl(number, fcntl.F_GETFL)
                place = os.lseek(number, 0, os.SEEK_CUR)
                own = os.open(f"/proc/self/fd/{number}", flags | os.O_CLOEXEC)
                os.lseek(own, place, os.SEEK_SET)
                os.dup2(own, number, inheritable=os.get_inheritable(number))
                os.close(own)

    def _new(self) -> list[int]:
        return [number for number in _descriptors() if number not in self._descriptors]


def _descriptors() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            os.fstat(int(name))
            found.append(int(name))
    return found


def _shared_memory() -> set[str]:
    """Mappings that other processes would see written to."""
    found = set()
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        place, rights, *_ = line.split(maxsplit=2)
        if "w" in rights and rights.endswith("s"):
            found.add(place)
    return found


def _hook_counts() -> dict[str, int]:
    module = sys.modules["torch.nn.modules.module"]
    return {name: len(getattr(module, name, ())) for name in _HOOKS}
