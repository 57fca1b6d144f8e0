"""Files that no containment covers as a side effect: devices, the kernel's settings, and file
systems mounted where only sockets and process ids are expected (``/run``)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sweeper.program._mounts import is_uncovered

if TYPE_CHECKING:
    from sweeper.program.side_effects import Watch

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HARMLESS = re.compile(
    r"/dev/(null|zero|full|u?random|tty|ptmx|console|std(in|out|err)|(pts|fd|shm|dri)(/.*)?"
    r"|nvidia[^/]*|kfd|infiniband/.*)$"
    r"|/proc/(self|thread-self|\d+)(/.*)?$"
)
"""Sinks, terminals, what drivers open for their work, and a process's own entries."""
_ON_FIRST = (
    *("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime"),
    *("os.setxattr", "os.removexattr", "os.chflags"),
)
_ON_BOTH = ("os.rename", "os.link", "os.symlink")


_NATIVE_WRITERS = (
    *(
        "av",
        "catboost",
        "duckdb",
        "faiss",
        "fiona",
        "itk",
        "leveldb",
        "lightgbm",
        "lmdb",
        "netCDF4",
    ),
    *("osgeo", "plyvel", "polars", "rasterio", "rocksdict", "SimpleITK", "soundfile", "tables"),
    *("netCDF4", "tensorflow", "tiledb", "vaex", "xgboost"),
)
"""Libraries that open files for writing in C, C++ or Rust, and that nobody redirects."""


class Files:
    """Handlers of the events of files."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        # Redirected calls arrive here with the place in the run's folder. An overlay covers /run
        # except for what is mounted there.
        self.inside = ("/dev/", "/proc/", "/sys/", "/run/")

    def handlers(self) -> dict[str, Callable[..., None]]:
        if sys.platform != "linux":
            return {}
        return {
            "open": self._open,
            **dict.fromkeys(_ON_FIRST, lambda path, *_: self._changed(path)),
            **dict.fromkeys(_ON_BOTH, self._both),
        }

    def ended(self) -> None:
        """At the end of the run, where neither overlay nor kernel holds what such a library may
        have written."""
        if self.watch.other_code == "free":
            for name in _NATIVE_WRITERS:
                if name in sys.modules:
                    what = f"imports {name}, whose files nothing here contains"
                    self.watch.seen(what, happened=True)

    def _open(self, path: Any, mode: Any, flags: int) -> None:
        if flags & _WRITING:
            self._changed(path)

    def _both(self, source: Any, target: Any, *_: Any) -> None:
        self._changed(source)
        self._changed(target)

    def _changed(self, path: Any) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        text = os.path.abspath(os.fsdecode(path))
        if _HARMLESS.match(text):
            return
        folder = os.path.realpath(os.path.dirname(text))
        real = os.path.join(folder, os.path.basename(text))
        if not real.startswith(self.inside) or _HARMLESS.match(real):
            return
        if not real.startswith("/run/") or is_uncovered(real):
            self.watch.seen(f"writes {real}, which lies outside of all containment")
