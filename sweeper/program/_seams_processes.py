"""The seams of programs that train in several processes.

The table of every patch is in `sweeper.program.seams`, which calls `patch_processes`. A run is one
process: what trains in others cannot be watched, and is refused with the reason. Where one process
is all there is to it, it is run here.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing

from sweeper.program.session import Session

Patch = Callable[[Any, str, Callable[[Any], Any]], None]
SEVERAL = "it trains in {} processes ({}), and only a training in one process can be watched"


def patch_processes(patch: Patch, current: Callable[[], Session | None]) -> None:
    """Process groups and spawned processes."""

    def make_spawn(original: Any) -> Any:
        @functools.wraps(original)
        def spawn(fn: Any, args: Any = (), nprocs: int = 1, *more: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None:
                return original(fn, args, nprocs, *more, **kwargs)
            if nprocs > 1:
                session.refuse_program(SEVERAL.format(nprocs, "torch.multiprocessing.spawn"))
            fn(0, *args)
            return None

        return spawn

    def make_init(original: Any) -> Any:
        @functools.wraps(original)
        def init_process_group(*args: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None:
                return original(*args, **kwargs)
            size = int(kwargs.get("world_size", -1))
            size = size if size > 0 else int(os.environ.get("WORLD_SIZE", "1"))
            if size > 1:
                session.refuse_program(SEVERAL.format(size, "torch.distributed"))
            # A store of its own: several runs at once would fight over one port.
            for name in ("init_method", "store", "rank", "world_size"):
                kwargs.pop(name, None)
            store = torch._C._distributed_c10d.HashStore()
            return original(*args[:1], **kwargs, store=store, rank=0, world_size=1)

        return init_process_group

    patch(torch.multiprocessing, "spawn", make_spawn)
    if torch.distributed.is_available():
        patch(torch.distributed, "init_process_group", make_init)
        patch(torch.distributed.distributed_c10d, "init_process_group", make_init)
