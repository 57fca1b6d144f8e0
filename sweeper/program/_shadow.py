"""A copy-on-write view of the file system made of two folders, without the help of the kernel.

``scratch/files/<absolute path>`` holds what the run wrote; ``scratch/gone/<absolute path>`` is a
plain file where the run removed the original (everything beneath it is hidden as well). Both lie on
disk, so forked and spawned Python processes of one run share one view. Paths given to the methods
are canonical: absolute and without links, as `Shadow.resolve` returns them. "Free" paths (kept
folders, devices, kernel files) are passed through.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from typing import Any

from sweeper.program._descriptors import behind

raw: Any = importlib.import_module(os.name)  # posix or nt: never patched, unlike the names in `os`
raw_open = io.open

_KERNEL = ("/dev", "/proc", "/sys")
_KERNEL_INSIDE = ("/dev/", "/proc/", "/sys/")
_SHARED_MEMORY = "/dev/shm"
"""Among devices, and yet a folder for files like any other."""
_MAX_LINKS = 40  # as the kernel: then ELOOP


class Shadow:
    """The view. Not thread-safe for two writers of one path, no more than the file system is."""

    def __init__(self, scratch: str, free: Sequence[str], working_folder: str = "") -> None:
        """`working_folder`: one among devices (/run/project) that is not free all the same."""
        self.files = os.path.join(scratch, "files")
        self.gone = os.path.join(scratch, "gone")
        self._free = tuple(path.rstrip(os.sep) for path in (*free, scratch))
        self._free_inside = tuple(path + os.sep for path in self._free)
        not_free = (_SHARED_MEMORY, *([working_folder] if working_folder else []))
        self._not_free = tuple(path + os.sep for path in not_free)
        raw_makedirs(self.files)
        raw_makedirs(self.gone)

    # -- where things are --------------------------------------------------------------------------

    def is_free(self, path: str) -> bool:
        if path in self._free or path.startswith(self._free_inside):
            return True
        if not path.startswith(_KERNEL_INSIDE):
            return path in _KERNEL
        return not (path + os.sep).startswith(self._not_free)

    def shadow(self, path: str) -> str:
        return self.files + _inside(path)

    def original(self, path: str) -> str:
        """The inverse of `shadow`: what the program should see for a real path."""
        if path == self.files or path.startswith(self.files + os.sep):
            return path[len(self.files) :] or os.sep
        return path

    def reading(self, path: str) -> str:
        """The real path to read `path` from; one that does not exist where the run removed it."""
        if self.is_free(path):
            return path
        shadow = self.shadow(path)
        return shadow if _mode(shadow) or self._is_gone(path) else path

    def working(self, path: str) -> str:
        """The real folder to be in for code that knows no view: the original, with all the
        program's inputs, if there is one."""
        original = stat.S_ISDIR(_mode(path)) and not self._is_gone(path)
        return path if original else self.reading(path)

    def mode(self, path: str) -> int:
        """`st_mode` without following a link; 0 when there is nothing."""
        return _mode(self.reading(path))

    def is_folder(self, path: str) -> bool:
        return stat.S_ISDIR(self.mode(path))

    def _is_gone(self, path: str) -> bool:
        try:
            return stat.S_ISREG(raw.lstat(self.gone + _inside(path)).st_mode)
        except NotADirectoryError:
            return True  # a folder above it was removed
        except OSError:
            return False

    def resolve(self, path: str, follow: bool = True) -> str:
        """The canonical form of an absolute path: links followed in the view, the last one only
        with `follow`."""
        drive, rest = os.path.splitdrive(path)
        top = drive + os.sep
        current, links = top, 0
        todo = rest.replace(os.altsep or os.sep, os.sep).split(os.sep)[::-1]
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if not self.is_folder(current):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
                current = os.path.dirname(current)
                continue
            step = os.path.join(current, name)
            if step.startswith(_KERNEL_INSIDE) and ".." not in todo:
                whole = os.path.join(step, *todo[::-1])
                target = behind(whole) if todo or follow else ""
                if target:
                    return self.resolve(self.original(target), follow)
                if self.is_free(whole):
                    return whole  # /proc/self/fd/1 must not be read as a link
            if todo or follow:
                real = self.reading(step)
                if stat.S_ISLNK(_mode(real)):
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    target = str(raw.readlink(real))
                    if os.path.isabs(target):
                        current = top
                    todo += target.split(os.sep)[::-1]
                    continue
            current = step
        return current

    def names(self, path: str) -> list[str]:
        """What a listing of the folder shows."""
        if self.is_free(path):
            return list(raw.listdir(path))
        real = self.reading(path)
        written = raw.listdir(real) if real != path else []
        both = real == path or (stat.S_ISDIR(_mode(path)) and not self._is_gone(path))
        found = raw.listdir(path) if both else []
        hidden = set()
        if stat.S_ISDIR(_mode(self.gone + _inside(path))):
            hidden = {n for n in found if self._is_gone(os.path.join(path, n))}
        return list(dict.fromkeys([*(n for n in found if n not in hidden), *written]))

    # -- changes -----------------------------------------------------------------------------------

    def writing(self, path: str, copy: bool = True) -> str:
        """The real path to change `path` at: its copy in the shadow, made first (empty unless
        `copy`). Where nothing exists, the place for it; when the folder it would be in does not
        exist either, that fails there as it should."""
        if self.is_free(path):
            return path
        real, shadow = self.reading(path), self.shadow(path)
        mode = _mode(real)
        if real == shadow or not mode:
            if self.is_folder(os.path.dirname(path)):
                self._prepare(os.path.dirname(path))
            return shadow
        if stat.S_ISDIR(mode):
            self._prepare(path)
            return shadow
        self._prepare(os.path.dirname(path))
        self._copy(path, shadow, copy)
        return shadow

    def remove(self, path: str) -> None:
        """A file, link or empty folder leaves the view."""
        if self.is_free(path):
            (raw.rmdir if self.is_folder(path) else raw.unlink)(path)
            return
        shadow = self.shadow(path)
        mode = _mode(shadow)
        if stat.S_ISDIR(mode):
            raw.rmdir(shadow)
        elif mode:
            raw.unlink(shadow)
        self._hide_original(path)

    def _hide_original(self, path: str) -> None:
        if _mode(path) and not self._is_gone(path):
            marker = self.gone + _inside(path)
            if stat.S_ISDIR(_mode(marker)):
                shutil.rmtree(marker)  # markers inside are implied by this one
            raw_makedirs(os.path.dirname(marker))
            raw_open(marker, "wb").close()

    def rename(self, source: str, target: str) -> None:
        """As rename(2): a file replaces a file, a folder an empty folder."""
        mode = self.mode(source)
        if not mode:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        if source == target:
            return
        if self.is_folder(target):
            number = 0 if stat.S_ISDIR(mode) or source.startswith(target + os.sep) else errno.EISDIR
            number = number or (errno.ENOTEMPTY if self.names(target) else 0)
        else:
            number = errno.ENOTDIR if stat.S_ISDIR(mode) and self.mode(target) else 0
        if not self.is_folder(os.path.dirname(target)):
            number = errno.ENOENT
        elif stat.S_ISDIR(mode) and target.startswith(source + os.sep):
            number = errno.EINVAL
        if number:
            raise OSError(number, os.strerror(number), source, None, target)
        if self.is_free(target):
            self._move(source, target)
        else:
            self._prepare(os.path.dirname(target))
            self._move(source, self.shadow(target))
            self._hide_original(target)  # a link or folder would show through below a new folder

    def _move(self, source: str, real_target: str) -> None:
        real = self.reading(source)
        folder = stat.S_ISDIR(_mode(real))
        whole = real != source and (not folder or not _mode(source) or self._is_gone(source))
        if whole or self.is_free(source):
            try:
                raw.replace(real, real_target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.move(real, real_target)
        elif folder:
            if not _mode(real_target):
                raw.mkdir(real_target)
            for name in self.names(source):
                self._move(os.path.join(source, name), os.path.join(real_target, name))
            raw.chmod(real_target, stat.S_IMODE(_mode(real)))
            _set_times(real_target, raw.lstat(real))
        else:
            self._copy(real, real_target, True)
        if not self.is_free(source):
            self.remove_tree(source)

    def remove_tree(self, path: str) -> None:
        shadow = self.shadow(path)
        if stat.S_ISDIR(_mode(shadow)):
            shutil.rmtree(shadow)
        self.remove(path)

    def _prepare(self, folder: str) -> None:
        """The shadow of an existing folder exists, with the original's permissions and ours."""
        shadow = self.shadow(folder)
        if not _mode(shadow):
            self._prepare(os.path.dirname(folder))
            above = os.path.dirname(shadow)
            times = raw.lstat(above)
            try:
                raw.mkdir(shadow, stat.S_IMODE(_mode(folder)) | stat.S_IRWXU)
            except FileExistsError:
                return  # another thread or process of this run was quicker
            _set_times(shadow, raw.lstat(folder))
            _set_times(above, times)

    def _copy(self, source: str, target: str, content: bool) -> None:
        """A file or link, complete from the moment it is seen. Its folder's time stays as it was,
        because for the program nothing has been added to it."""
        part = os.path.join(os.path.dirname(self.files), f"copy-{os.getpid()}-{id(target)}")
        if stat.S_ISLNK(_mode(source)):
            raw.symlink(raw.readlink(source), part)
        elif not stat.S_ISREG(_mode(source)):
            raise PermissionError(errno.EPERM, "a pipe, socket or device stays as it is", source)
        else:
            with raw_open(part, "wb") as written:
                if content:
                    with raw_open(source, "rb") as read:
                        shutil.copyfileobj(read, written, 1 << 20)
            raw.chmod(part, stat.S_IMODE(_mode(source)))
            _set_times(part, raw.lstat(source))
        above = os.path.dirname(target)
        times = raw.lstat(above)
        raw.replace(part, target)
        _set_times(above, times)


def raw_makedirs(path: str) -> None:
    if not _mode(path):
        raw_makedirs(os.path.dirname(path))
        try:
            raw.mkdir(path)
        except FileExistsError:
            return


def _set_times(path: str, status: os.stat_result) -> None:
    raw.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _mode(real: str) -> int:
    try:
        return int(raw.lstat(real).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError:
        return stat.S_IFREG  # there, but closed to us: let the program's own call fail on it


def _inside(path: str) -> str:
    """`path` as a path below another folder: on Windows without the drive's colon."""
    if sys.platform == "win32":
        return os.sep + path.replace(":", "", 1).lstrip(os.sep)
    return path
