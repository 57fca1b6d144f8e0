"""Python's own file calls, redirected to a copy-on-write view (`sweeper.program._shadow`).

Used where the kernel grants no overlay. What is patched here (libraries that open files by
themselves are in `sweeper.program._redirect_libraries`):

| what | why |
|---|---|
| `open`, `io.open`, `io.FileIO` | an opener is passed in: file objects keep their given name |
| `os.open`, `stat`, `rename`, ... | pathlib, shutil, glob, tempfile, numpy, pandas rest on these |
| every module that holds one of these | `from os import remove` made a reference of its own |
| `sys.dont_write_bytecode` | the import system writes .pyc files without `os` |

Not redirected: other programs and C libraries with paths of their own. Landlock stops their writes
where the kernel has it. This module and those it imports need the standard library only: spawned
interpreters load them too.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import shutil
import stat
import sys
import tempfile
from abc import ABCMeta
from collections.abc import Callable, Sequence
from io import FileIO as _FileIO
from types import ModuleType
from typing import Any

from sweeper.program._descriptors import path_of
from sweeper.program._scandir import Entries
from sweeper.program._shadow import Shadow, raw, raw_open

_READ = ("stat", "access", "statvfs", "getxattr", "listxattr", "pathconf")
_READ_LINK = ("lstat", "readlink")
_CHANGE = ("chmod", "chown", "utime", "truncate", "setxattr", "removexattr", "chflags")
_CHANGE_LINK = ("lchown", "lchmod", "lchflags")
_CREATE = ("mkdir", "mkfifo", "mknod")
_open_code = io.open_code


class Redirect:
    """The patches of one process. `scratch`, `free` and `cwd` are absolute and without links."""

    def __init__(
        self, scratch: str, free: Sequence[str], cwd: str, working_folder: str = "", site: str = ""
    ) -> None:
        self.scratch, self.free, self.working_folder = scratch, list(free), working_folder
        self.site = site  # the folder on PYTHONPATH by which spawned Python programs get here
        self.view = Shadow(scratch, free, working_folder)
        self.cwd = self.view.original(cwd)
        self._undo: list[Callable[[], object]] = []

    def install(self) -> None:
        replaced = self._replacements()
        for new, original in replaced.values():
            for supported in (os.supports_follow_symlinks, os.supports_effective_ids):
                if original in supported:
                    supported.add(new)
        self._replace_references(replaced)
        self.set(sys, "dont_write_bytecode", True)
        self.set(shutil, "_use_fd_functions", False)  # then it goes by paths, which are patched

    def uninstall(self) -> None:
        while self._undo:
            self._undo.pop()()

    def set(self, owner: Any, name: str, value: Any) -> None:
        """`setattr` that `uninstall` takes back."""
        if name in vars(owner):
            self.at_uninstall(functools.partial(setattr, owner, name, vars(owner)[name]))
        else:
            self.at_uninstall(functools.partial(delattr, owner, name))
        setattr(owner, name, value)

    def at_uninstall(self, call: Callable[[], object]) -> None:
        self._undo.append(call)

    # -- paths -------------------------------------------------------------------------------------

    def canonical(self, path: Any, follow: bool = True, dir_fd: int | None = None) -> str:
        text = os.fsdecode(path)
        if not text:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if not os.path.isabs(text):
            base = self.cwd if dir_fd is None else raw.readlink(f"/proc/self/fd/{dir_fd}")
            text = os.path.join(self.view.original(base), text)
        return self.view.resolve(text, follow)

    def place(self, path: Any, access: str, follow: bool = True, dir_fd: int | None = None) -> Any:
        """The real path for a call: `access` is "read", "change" (of what is there) or "replace".
        What is no path (a descriptor, a buffer) is returned as it is."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return self.changed_by(path) or path if access == "change" else path
        canonical = self.canonical(path, follow, dir_fd)
        if access == "read":
            return self.view.reading(canonical)
        return self.view.writing(canonical, copy=access == "change")

    def changed_by(self, descriptor: Any) -> str:
        """The place for a change by descriptor (of mode, owner, times) to what is the user's; "" if
        the descriptor itself will do."""
        path = path_of(descriptor) if isinstance(descriptor, int) else ""
        if not path or self.view.is_free(path):  # the run's own copies are free
            return ""
        return self.view.writing(path)

    # -- what takes the place of the originals -----------------------------------------------------

    def _replacements(self) -> dict[int, tuple[Any, Any]]:
        """id(original) -> (replacement, original)."""
        functions: dict[str, Callable[..., Any]] = {
            "open": self._descriptor,
            "remove": self._unlink,
            "unlink": self._unlink,
            "rmdir": self._rmdir,
            "rename": self._rename,
            "replace": self._rename,
            "link": self._link,
            "symlink": self._symlink,
            "listdir": self._listdir,
            "scandir": self._scandir,
            "chdir": self._chdir,
            "fchdir": self._chdir,
            "fchmod": lambda fd, mode: raw.chmod(self.changed_by(fd) or fd, mode),
            "fchown": lambda fd, uid, gid: raw.chown(self.changed_by(fd) or fd, uid, gid),
            "getcwd": lambda: self.cwd,
            "getcwdb": lambda: os.fsencode(self.cwd),
        }
        for names, access, follow in (
            (_READ, "read", True),
            (_READ_LINK, "read", False),
            (_CHANGE, "change", True),
            (_CHANGE_LINK, "change", False),
            (_CREATE, "create", False),
        ):
            for name in names:
                if hasattr(os, name):
                    functions[name] = self._on_path(getattr(os, name), access, follow)
        result = {}
        for name, function in functions.items():
            original = getattr(os, name, None)
            if original is not None:
                result[id(original)] = (_named_like(original, "os", function), original)
        result[id(raw_open)] = (_named_like(raw_open, "io", self._open), raw_open)
        result[id(_open_code)] = (_named_like(_open_code, "io", self._open_code), _open_code)
        result[id(_FileIO)] = (self._file_io(), _FileIO)
        return result

    def _on_path(self, original: Any, access: str, follow: bool) -> Callable[..., Any]:
        def call(path: Any, *args: Any, dir_fd: int | None = None, **options: Any) -> Any:
            if access == "create":
                return original(self._new(path, dir_fd), *args, **options)
            followed = options.get("follow_symlinks", follow)
            found = original(self.place(path, access, followed, dir_fd), *args, **options)
            return (
                os.fsencode(found) if isinstance(found, str) and isinstance(path, bytes) else found
            )

        return call

    def _descriptor(
        self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        exclusive = flags & os.O_CREAT and flags & os.O_EXCL
        follow = not exclusive and not flags & getattr(os, "O_NOFOLLOW", 0)
        canonical = self.canonical(path, follow, dir_fd)
        there = self.view.mode(canonical)
        if exclusive and there:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        real = self.view.reading(canonical)
        changing = flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC)
        special = there and not (stat.S_ISREG(there) or stat.S_ISDIR(there) or stat.S_ISLNK(there))
        if special or not (changing or (flags & os.O_CREAT and not there)):
            return int(raw.open(real, flags, mode))
        if stat.S_ISREG(there) and not raw.access(real, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        real = self.view.writing(canonical, copy=not flags & os.O_TRUNC)
        return int(raw.open(real, flags, mode))

    def _opener(self, path: str, flags: int) -> int:
        return self._descriptor(path, flags, 0o666)

    def _open(self, file: Any, *args: Any, **options: Any) -> Any:
        if isinstance(file, int) or len(args) >= 7 or options.get("opener") is not None:
            return raw_open(file, *args, **options)
        return raw_open(file, *args, **{**options, "opener": _restoring_names(self._opener)})

    def _open_code(self, path: Any) -> Any:
        return _open_code(self.place(path, "read"))

    def _file_io(self) -> type:
        redirected = _restoring_names(self._opener)

        class _Meta(ABCMeta):
            def __instancecheck__(cls, instance: object) -> bool:
                return isinstance(instance, _FileIO)

        class FileIO(_FileIO, metaclass=_Meta):
            def __init__(
                self, file: Any, mode: str = "r", closefd: bool = True, opener: Any = None
            ) -> None:
                own = None if isinstance(file, int) else redirected
                super().__init__(file, mode, closefd, opener or own)

        return FileIO

    def _new(self, path: Any, dir_fd: int | None) -> str:
        """The real path for something that must not exist yet."""
        canonical = self.canonical(path, False, dir_fd)
        if self.view.mode(canonical):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return self.view.writing(canonical)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        canonical = self.canonical(path, False, dir_fd)
        mode = self.view.mode(canonical)
        _fail(errno.EISDIR if stat.S_ISDIR(mode) else 0 if mode else errno.ENOENT, path)
        self.view.remove(canonical)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        canonical = self.canonical(path, False, dir_fd)
        mode = self.view.mode(canonical)
        _fail(0 if stat.S_ISDIR(mode) else errno.ENOTDIR if mode else errno.ENOENT, path)
        _fail(errno.ENOTEMPTY if self.view.names(canonical) else 0, path)
        self.view.remove(canonical)

    def _rename(
        self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        source = self.canonical(src, False, src_dir_fd)
        self.view.rename(source, self.canonical(dst, False, dst_dir_fd))

    def _link(
        self,
        src: Any,
        dst: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        source = self.canonical(src, follow_symlinks, src_dir_fd)
        _fail(0 if self.view.mode(source) else errno.ENOENT, src)
        place = self._new(dst, dst_dir_fd)
        if self.view.is_free(source) and source.startswith("/proc/"):  # a file without a name
            raw.link(source, place, src_dir_fd=0, follow_symlinks=True)
        else:
            raw.link(self.view.writing(source), place)

    def _symlink(
        self, src: Any, dst: Any, target_is_directory: bool = False, *, dir_fd: int | None = None
    ) -> None:
        raw.symlink(src, self._new(dst, dir_fd), target_is_directory)

    def _scandir(self, path: Any = ".") -> Entries:
        names = self._listdir(path)
        if isinstance(path, int):
            path = self.view.original(raw.readlink(f"/proc/self/fd/{path}"))
        return Entries("." if path is None else path, names)

    def _listdir(self, path: Any = ".") -> list[Any]:
        if isinstance(path, int):
            path = self.view.original(raw.readlink(f"/proc/self/fd/{path}"))
        names = self.view.names(self.canonical("." if path is None else path))
        return [os.fsencode(name) for name in names] if isinstance(path, bytes) else list(names)

    def _chdir(self, path: Any) -> None:
        if isinstance(path, int):
            path = raw.readlink(f"/proc/self/fd/{path}")
        canonical = self.canonical(self.view.original(os.fsdecode(path)))
        raw.chdir(self.view.working(canonical))
        self.cwd = canonical

    # -- where they are put ------------------------------------------------------------------------

    def _replace_references(self, replaced: dict[int, tuple[Any, Any]]) -> None:
        """In every loaded module (`os` and `builtins` are two of them), except those that must see
        the real disk: ours, and `posix` and `_io`, through which the import system works."""
        exempt = {__name__, Shadow.__module__, os.name, "_io"}
        for name, module in list(sys.modules.items()):
            if name in exempt or not isinstance(module, ModuleType):
                continue
            for key, value in list(vars(module).items()):
                if id(value) in replaced:
                    self.set(module, key, replaced[id(value)][0])
                # Not isinstance: some values warn or compute when asked for their class.
                elif name.split(".")[0] in ("glob", "pathlib") and issubclass(type(value), type):
                    self._replace_members(value, replaced)
        closer = tempfile._TemporaryFileCloser  # type: ignore[attr-defined]
        for function in vars(closer).values():  # def close(self, unlink=os.unlink)
            defaults = getattr(function, "__defaults__", None) or ()
            if any(id(value) in replaced for value in defaults):
                new = tuple(replaced.get(id(value), (value,))[0] for value in defaults)
                self.at_uninstall(functools.partial(setattr, function, "__defaults__", defaults))
                function.__defaults__ = new
        numpy_files = sys.modules.get("numpy.lib._datasource")
        if numpy_files is not None:  # a dictionary of openers that numpy.savetxt uses
            openers = numpy_files._file_openers._file_openers
            self.at_uninstall(functools.partial(openers.__setitem__, None, openers[None]))
            openers[None] = replaced[id(raw_open)][0]

    def _replace_members(self, owner: type, replaced: dict[int, tuple[Any, Any]]) -> None:
        """From Python 3.13 on, globbing holds ``scandir = staticmethod(os.scandir)``."""
        for key, member in list(vars(owner).items()):
            function = getattr(member, "__func__", member)
            if id(function) in replaced:
                self.set(owner, key, staticmethod(replaced[id(function)][0]))


def _fail(number: int, path: Any) -> None:
    if number:
        raise OSError(number, os.strerror(number), path)


def _named_like(original: Any, module: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under the original's public name, so that it can be pickled by reference."""
    named = functools.wraps(original)(_restoring_names(function))
    named.__module__ = module
    return named


def _restoring_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors name the paths the program gave, not the real ones."""

    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except OSError as error:
            if error.filename is not None and args:
                error.filename = args[0]
            if error.filename2 is not None and len(args) > 1:
                error.filename2 = args[1]
            raise

    return call
