"""What the program writes, renames or deletes stays inside the run's folder.

Two means, the stronger first: an overlay file system over everything (`sweeper.program._overlay`:
any language, any subprocess), else Python's file calls redirected to a copy-on-write view
(`sweeper.program._redirect`) with the kernel's Landlock behind it, where there is one, so that what
Python does not see fails instead of doing harm.

Both keep what was written at ``scratch/files/<absolute path>``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper.program import _overlay
from sweeper.program._landlock import forbid_writes
from sweeper.program._mounts import working_folder
from sweeper.program._namespace import (
    Unavailable,
    Way,
    enter_namespace,
    user_namespace_refusal,
)
from sweeper.program._redirect import Redirect
from sweeper.program._redirect_libraries import install
from sweeper.program._spawned import plain_name

_OURS = ("files", "mounts", "work", "gone", "memory", "shared", "site", "tmp")
"""All that containment makes in a scratch folder."""


@dataclass(frozen=True)
class Containment:
    """Which containment is on. `reason` says why not the stronger one ("" when it is on)."""

    kind: Literal["overlay", "redirect", "none"]
    description: str
    reason: str = ""
    other_code: Literal["contained", "stopped", "free"] = "contained"
    """What becomes of files that are written past Python: kept in the run's folder, refused by the
    kernel, or written."""


def prepare() -> None:
    """To be called in a fork server, once: saves each child the imports, and that of an ordinary
    user a fork of its own to find out whether user namespaces are permitted."""
    for name in ("_outside_clients", "_outside_files", "_outside_network", "_outside_programs"):
        importlib.import_module(f"sweeper.program.{name}")
    importlib.import_module("sweeper.program.trackers")
    if sys.platform == "linux" and os.geteuid() != 0:
        user_namespace_refusal()


def contain(
    scratch: Path,
    keep: Sequence[Path],
    cwd: Path,
    prefer: Literal["overlay", "redirect"] = "overlay",
) -> Containment:
    """Contain this process and its children for good.

    To be called in the child, single-threaded, before the program starts; it leaves the process in
    `cwd`. `scratch`, emptied of what an earlier try left there, takes what the program writes;
    `keep` (files or folders that exist) stay really writable. OSError when `scratch` cannot be made
    or `cwd` is not there.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    clear(scratch)
    scratch, cwd = scratch.resolve(), cwd.resolve(strict=True)
    kept = _outermost([path.resolve(strict=True) for path in (*keep, scratch)])
    reason = "the overlay was switched off"
    if prefer == "overlay":
        try:
            return Containment("overlay", _overlay.enter(scratch, kept, cwd))
        except Unavailable as error:
            reason = str(error)
            clear(scratch)
    _own_temporary_folder(scratch)
    os.chdir(cwd)
    free = [str(path) for path in kept]
    install(Redirect(str(scratch), free, str(cwd), working_folder(str(cwd))))
    unguarded = forbid_writes(kept)
    behind = f"is not stopped ({unguarded})" if unguarded else "is refused by Landlock"
    return Containment(
        "redirect",
        f"Python's file calls are redirected; what writes past them {behind}",
        reason,
        other_code="free" if unguarded else "stopped",
    )


class Provisional:
    """Containment of a process that runs a program up to its fork point: what it writes there shows
    in `written`, and the children that it forks are contained anew, each in a folder of its own.

    To be made where `contain` is to be called. Raises `Unavailable` where there is no overlay.
    """

    def __init__(self, scratch: Path, keep: Sequence[Path], cwd: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        clear(scratch)
        self._scratch, cwd = scratch.resolve(), cwd.resolve(strict=True)
        kept = _outermost([path.resolve(strict=True) for path in (*keep, self._scratch)])
        enter_namespace()
        self._way = Way()
        _overlay.enter(self._scratch, kept, cwd, self._way)
        self._before = self._listing()

    def written(self) -> str:
        """The deepest path that was written past Python's calls since, or the empty string."""
        return max(self._listing() - self._before, key=len, default="")

    def leave(self) -> None:
        """In a child: out of the overlay, ready for `contain`."""
        self._way.back()

    def _listing(self) -> set[str]:
        return {
            os.path.join(parent, name)
            for layers in ("files", "mounts", "memory", "shared")
            for parent, folders, files in os.walk(self._scratch / layers)
            for name in (*folders, *files)
        }


def clear(scratch: Path) -> None:
    """Delete what a contained run left in its scratch folder, also what `rm -r` stumbles over: the
    kernel leaves folders without any permission in an overlay's work folder."""
    for name in _OURS:
        folder = scratch / name
        if not folder.is_dir() or folder.is_symlink():
            continue
        for parent, names, _ in os.walk(folder):
            for child in names:
                path = os.path.join(parent, child)
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
        shutil.rmtree(folder)


def discard(scratch: Path) -> None:
    """Delete the scratch folder of a run that has ended, as far as that can be done."""
    with contextlib.suppress(OSError):
        clear(scratch)
        shutil.rmtree(scratch)


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Without those that lie in another."""
    return [p for p in dict.fromkeys(paths) if not any(q in p.parents for q in paths)]


def _own_temporary_folder(scratch: Path) -> None:
    """Temporary files go to a real folder of the run, because C code binds sockets there."""
    folder = scratch / "tmp"
    folder.mkdir()
    os.environ["TMPDIR"] = plain_name(str(folder))
    tempfile.tempdir = None
