"""Clients written in other languages than Python as a side effect: their connections raise no
audit event, so the calls that make them are wrapped, once the program has imported them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sweeper.program._after_import import after_import

if TYPE_CHECKING:
    from sweeper.program.side_effects import Watch

_CONNECTING = {
    "psycopg": ("connect", "Connection.connect", "AsyncConnection.connect"),
    "psycopg2": ("connect",),
    "MySQLdb": ("connect",),
    "mariadb": ("connect",),
    "pyodbc": ("connect",),
    "oracledb": ("connect",),
    "pymssql": ("connect",),
    "grpc": ("insecure_channel", "secure_channel"),
}
"""Module -> what connects it to a server."""
CLIENTS = (*_CONNECTING, "pynvml")
"""Modules that are wrapped."""
_GPU_SETTING = re.compile(r"nvmlDevice(Set|Reset|Clear|Freeze|Modify|Remove|Create)\w+$")


def install(watch: Watch) -> None:
    """Wrap them now or when they are imported."""
    for name, calls in _CONNECTING.items():
        after_import(name, functools.partial(_wrap, watch, calls))
    after_import("pynvml", functools.partial(_wrap_gpu, watch))


def _wrap(watch: Watch, calls: tuple[str, ...], module: ModuleType) -> None:
    for dotted in calls:
        owner: Any = module
        *parts, name = dotted.split(".")
        for part in parts:
            owner = getattr(owner, part, None)
        if hasattr(owner, name):
            what = f"connects to a server by {module.__name__}.{dotted}"
            _announce(watch, owner, name, what)


def _wrap_gpu(watch: Watch, module: ModuleType) -> None:
    for name in vars(module).copy():
        if _GPU_SETTING.match(name):
            _announce(watch, module, name, f"changes the settings of GPUs by pynvml.{name}")


def _announce(watch: Watch, owner: Any, name: str, what: str) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(original, updated=())
    def call(*args: Any, **options: Any) -> Any:
        watch.seen(what)
        return original(*args, **options)

    # A class method or static method was bound when it was looked up.
    bound = isinstance(owner, type) and isinstance(
        vars(owner).get(name), (classmethod, staticmethod)
    )
    try:
        setattr(owner, name, staticmethod(call) if bound else call)
    except TypeError:  # a class that cannot be changed: the program goes unwatched there
        pass
