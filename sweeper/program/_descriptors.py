"""Names by which the kernel lets one reach a file that is open already: ``/proc/self/fd/3``,
``/dev/fd/3``, ``/proc/self/cwd``, ``/proc/self/root``.

The redirection must see the file behind them: opened again for writing, or changed by `os.fchmod`,
a descriptor that was opened for reading leads to the user's own file.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
from typing import Any

_raw: Any = importlib.import_module(os.name)
_MAGIC = re.compile(
    r"/(?:proc/(?:self|thread-self|\d+)(?:/task/\d+)?/(?:fd/\d+|cwd|root)|dev/fd/\d+)(?=/|$)"
)


def behind(path: str) -> str:
    """`path` with a leading name of the kernel's replaced by the file or folder that it stands for;
    "" where there is no such name, or what is open has no path (a pipe, a removed file)."""
    found = _MAGIC.match(path)
    if found is None:
        return ""
    name = found[0].replace("/dev/fd/", "/proc/self/fd/", 1)
    target = _real(name)
    return target + path[found.end() :] if target else ""


def path_of(descriptor: int) -> str:
    """The path of an open file or folder, "" where it has none or the system does not tell."""
    return _real(f"/proc/self/fd/{descriptor}")


def _real(name: str) -> str:
    try:
        target = str(_raw.readlink(name))
        there = _raw.lstat(target) if target.startswith(os.sep) else None
        here = _raw.stat(name)
    except OSError:
        return ""
    if there is None or (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
        return ""  # removed since, or another file has taken the name
    return target if stat.S_ISREG(there.st_mode) or stat.S_ISDIR(there.st_mode) else ""
