"""Python programs that the program starts get what it has: the redirection, the watch and
trackers that stay offline.

A folder with a ``sitecustomize`` comes first on ``PYTHONPATH``; it takes itself off ``sys.path``
again and runs the program's own ``sitecustomize``, if there is one.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.program._shadow import raw, raw_makedirs, raw_open

INSTALLERS = {
    "SWEEPER_REDIRECT": "sweeper.program._redirect_libraries",
    "SWEEPER_WATCH": "sweeper.program.side_effects",
    "SWEEPER_TRACKERS": "sweeper.program.trackers",
}
"""Variable -> the module whose ``install_from_environment`` reads it."""
_LONG_PATH = 60
"""Characters. A Unix socket's path may have 107; multiprocessing adds some 40 to the folder's."""
_SITE = """\
import importlib.util, os, sys
from importlib.machinery import PathFinder
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
sys.path.insert(0, {package!r})
try:
    from sweeper.program._spawned import install
    install()
finally:
    sys.path.remove({package!r})
hidden = PathFinder.find_spec("sitecustomize")
if hidden is not None:
    hidden.loader.exec_module(importlib.util.module_from_spec(hidden))
"""


def install() -> None:
    """In a Python program that a contained one has started."""
    for variable, name in INSTALLERS.items():
        if variable in os.environ:
            module: Any = importlib.import_module(name)
            module.install_from_environment()


def make_site(scratch: str) -> str:
    """Make the folder with the ``sitecustomize``; returns the name to put on PYTHONPATH."""
    site = os.path.join(scratch, "site")
    raw_makedirs(site)
    with raw_open(os.path.join(site, "sitecustomize.py"), "w", encoding="utf-8") as file:
        file.write(_SITE.format(package=str(Path(__file__).parents[2])))
    return plain_name(site)


def python_path(site: str, given: Mapping[str, str]) -> str:
    """PYTHONPATH with `site` first."""
    entries = [entry for entry in given.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return os.pathsep.join([site, *(entry for entry in entries if entry != site)])


def plain_name(folder: str) -> str:
    """A short name for `folder` without separators in it, valid in all processes of the run as long
    as this one lives; elsewhere than on Linux, or if it is such a name already, `folder` itself."""
    plain = len(folder) <= _LONG_PATH and os.pathsep not in folder
    if plain or sys.platform != "linux":
        return folder
    return f"/proc/{os.getpid()}/fd/{raw.open(folder, os.O_PATH)}"
