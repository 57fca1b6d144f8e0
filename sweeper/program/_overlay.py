"""Overlay file systems over everything the program could write, in the process's own namespace.

Which folders is decided in `sweeper.program._mounts`. Each gets one overlay: the lower layer is the
real folder, the upper one ``scratch/files/<same absolute path>``, or a private tmpfs for system and
empty folders. The kept folders are bound back over the overlays.

Facts this rests on (measured on Linux 6.18, as root and unprivileged):

- An upper folder may lie inside its lower folder; only its path through the overlay then answers
  ELOOP, which nobody sees because the run folder, a kept folder, is bound over it.
- Layers are named by ``/proc/self/fd/N`` of folders opened before the first mount: no escaping, no
  length limit, and a mount inside a covered folder is still reached once that is covered.
- ``volatile`` keeps the end of a run from waiting until the disk is synced.
- In a user namespace the kernel refuses (EINVAL) a lower folder with mounts inside, because their
  cover would come off. Such a folder is split.
- There it cannot copy up what another user or group owns either (EOVERFLOW: the owner has no number
  inside), and a write copies up every folder above it. The folders above likely places are
  therefore made in the upper layer beforehand. A foreign file, or any file in a foreign folder
  elsewhere, can be read but not written.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sweeper.program._mounts import SHARED_MEMORY, Step, plan, under
from sweeper.program._namespace import (
    KEPT_FLAGS,
    MS_BIND,
    MS_REC,
    Unavailable,
    Way,
    drop_capabilities,
    enter_namespace,
    mount,
    remount_read_only,
    unmount,
)

_SYSTEM = frozenset(
    (
        *("bin", "boot", "etc", "lib", "lib32", "lib64", "libx32"),
        *("lost+found", "run", "sbin", "usr", "var"),
    )
)
"""Top-level folders into which nobody writes gigabytes. An upper layer in memory saves a run some
five folders on disk each."""
TMPFS_SIZE = "2g"
"""Cap on what a run may write in memory: there, and where its disk can hold no upper layer."""


def enter(scratch: Path, keep: Sequence[Path], cwd: Path, way: Way | None = None) -> str:
    """Move the process into the overlay. Returns what is on, in words; raises `Unavailable`.

    All paths are absolute and without links; `scratch` is empty and lies in one of `keep`. With
    `way`, children may leave the overlay again.
    """
    user_namespace = enter_namespace()
    try:
        notes = _Cover(scratch, keep, cwd, user_namespace).apply()
    except OSError as error:
        raise Unavailable(f"mounting the overlay failed: {error}") from error
    finally:
        os.chdir(cwd)
        if way is not None:
            way.rest()
        elif user_namespace:
            drop_capabilities()
    _tolerate_cross_device_renames()
    where = "user and mount" if user_namespace else "mount"
    return "; ".join([f"overlay file system in the run's own {where} namespace", *notes])


class _Cover:
    """The execution of the plan; undone as a whole when a needed part fails."""

    def __init__(
        self, scratch: Path, keep: Sequence[Path], cwd: Path, user_namespace: bool
    ) -> None:
        self.cwd, self.user_namespace = str(cwd), user_namespace
        self.keep = sorted(str(path) for path in keep)
        self.likely = _likely_folders(self.cwd) if user_namespace else set()
        self.mounted: list[str] = []
        self.notes: list[str] = []
        # Everything by descriptor: after the first mount a path may lead into an overlay.
        self.fds = {"scratch": os.open(scratch, os.O_PATH)}
        self.disk = f"/proc/self/fd/{self.fds['scratch']}"
        self.memory = ""  # the private tmpfs, once needed

    def apply(self) -> list[str]:
        """Mount everything. Returns what a person should know about it."""
        try:
            steps = plan(self.cwd, self.user_namespace)
            for path in dict.fromkeys([*self.keep, *(step.path for step in steps)]):
                self.fds[path] = os.open(path, os.O_PATH)
            for step in steps:
                self._apply(step)
            for path in self.keep:
                self._bind(path)
            if os.access("/", os.W_OK):
                remount_read_only("/")
        except BaseException:
            for path in reversed(self.mounted):
                unmount(path)
            raise
        finally:
            for fd in self.fds.values():
                os.close(fd)
        return self.notes

    def _apply(self, step: Step) -> None:
        if step.kind == "again":
            self._bind(step.path)
        elif step.kind == "read_only":
            self._read_only(step.path, step.reason)
        else:
            try:
                self._overlay(step.path)
            except OSError as error:
                # For example vfat, whose names cannot be layered. Where nobody works it is enough
                # that it stays unharmed.
                if under(self.cwd, (step.path,)):
                    raise
                self._read_only(step.path, os.strerror(error.errno or 0))

    def _overlay(self, path: str) -> None:
        if path == SHARED_MEMORY:
            real = os.statvfs(path)
            size = str(real.f_blocks * real.f_frsize)
            self._overlay_in(self._tmpfs("shared", size), path)
            return
        lived_in = any(under(place, (path,)) for place in (self.cwd, os.path.expanduser("~")))
        if not lived_in and (path.split("/")[1] in _SYSTEM or not os.listdir(path)):
            self._overlay_in(self._in_memory(), path)
            return
        try:
            self._overlay_in(self.disk, path)
        except OSError as error:
            if self.disk == self.memory or error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            # The run folder's file system can hold no upper layer (NFS, another overlay).
            self.disk = self._in_memory()
            self._overlay_in(self.disk, path)
            self.notes.append(f"what the run writes is held in memory (at most {TMPFS_SIZE})")

    def _in_memory(self) -> str:
        if not self.memory:
            self.memory = self._tmpfs("memory", TMPFS_SIZE)
        return self.memory

    def _tmpfs(self, name: str, size: str) -> str:
        path = f"/proc/self/fd/{self.fds['scratch']}/{name}"
        os.mkdir(path)
        mount("tmpfs", path, "tmpfs", 0, f"size={size},mode=700")
        self.mounted.append(path)
        return path

    def _overlay_in(self, root: str, path: str) -> None:
        """An overlay on `path` whose upper layer lies in `root`."""
        lower = f"/proc/self/fd/{self.fds[path]}"
        # No upper layer may lie inside another: that of a mount inside a covered folder is apart.
        name = path[1:].replace("/", "+")
        inside = any(under(path, (other,)) for other in self.mounted)
        upper = f"{root}/mounts/{name}" if inside else f"{root}/files{path}"
        work = f"{root}/work/{name}"
        os.makedirs(upper, exist_ok=True)
        os.makedirs(work, exist_ok=True)
        status = os.stat(lower)
        if os.geteuid() == 0 and not self.user_namespace:
            os.chown(upper, status.st_uid, status.st_gid)  # the merged folder shows the upper's
        os.chmod(upper, stat.S_IMODE(status.st_mode))
        for folder in self.likely:
            if under(folder, (path,)):
                self._open_way(upper, path, folder)
        fds = [os.open(upper, os.O_PATH), os.open(work, os.O_PATH)]
        layers = (
            f"lowerdir={lower},upperdir=/proc/self/fd/{fds[0]},workdir=/proc/self/fd/{fds[1]},"
            + ("userxattr" if self.user_namespace else "redirect_dir=on")
        )
        flags = os.statvfs(lower).f_flag & KEPT_FLAGS
        try:
            try:
                mount("overlay", path, "overlay", flags, f"{layers},volatile")
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                mount("overlay", path, "overlay", flags, layers)  # before Linux 5.10
        finally:
            for fd in fds:
                os.close(fd)
        self.mounted.append(path)

    def _open_way(self, upper: str, top: str, folder: str) -> None:
        """Make the folders from `top` down to `folder` in the upper layer, with the real modes."""
        real = f"/proc/self/fd/{self.fds[top]}"
        for name in folder[len(top) :].strip("/").split("/"):
            real, upper = os.path.join(real, name), os.path.join(upper, name)
            if not os.path.isdir(upper):
                os.mkdir(upper)
                os.chmod(upper, stat.S_IMODE(os.stat(real).st_mode))

    def _bind(self, path: str) -> None:
        mount(f"/proc/self/fd/{self.fds[path]}", path, None, MS_BIND | MS_REC)
        self.mounted.append(path)

    def _read_only(self, path: str, reason: str) -> None:
        self._bind(path)
        remount_read_only(path)
        if reason:
            self.notes.append(f"{path} is read-only ({reason})")


def _likely_folders(cwd: str) -> set[str]:
    """Existing folders that the program may well write to and that this user may: the working
    directory, home, the temporary folders, and what the environment or the command line names."""
    named = [cwd, os.path.expanduser("~"), "/tmp", "/var/tmp", *sys.argv, *os.environ.values()]
    folders = {os.path.realpath(path) for path in named if path.startswith("/")}
    return {path for path in folders if os.path.isdir(path) and os.access(path, os.W_OK)}


def _tolerate_cross_device_renames() -> None:
    """`os.rename` and `os.replace` that worked before must still work between two overlays (EXDEV),
    and for a folder of the lower layer, which the kernel does not rename in a user namespace."""

    def tolerant(original: Callable[..., None]) -> Callable[..., None]:
        def rename(src: Any, dst: Any, **options: Any) -> None:
            try:
                original(src, dst, **options)
            except OSError as error:
                if error.errno != errno.EXDEV or options:
                    raise
                _move(original, os.fsdecode(src), os.fsdecode(dst))

        return rename

    os.rename = tolerant(os.rename)
    os.replace = tolerant(os.replace)


def _move(rename: Callable[..., None], src: str, dst: str) -> None:
    """A rename by copying; `dst` is replaced in one step, as by rename(2)."""
    copy = os.path.join(os.path.dirname(os.path.abspath(dst)), f".{os.getpid()}.moved")
    if os.path.isdir(src) and not os.path.islink(src):
        shutil.copytree(src, copy, symlinks=True)
        try:
            rename(copy, dst)  # fails as it should on a file or a folder that is not empty
        except OSError:
            shutil.rmtree(copy)
            raise
        shutil.rmtree(src)
    else:
        shutil.copy2(src, copy, follow_symlinks=False)
        rename(copy, dst)
        os.unlink(src)
