"""Which folders an overlay has to cover so that no path leads to a user's file.

Covered: each top-level folder of ``/`` and every other mounted file system that can be written.
Left alone: ``/proc``, ``/sys``, ``/dev`` and what is mounted under ``/run``: devices, sockets and
kernel files, none of them a user's - unless the program works there: then that folder is covered as
well. ``/dev/shm`` is covered, which also frees what a killed run leaves there.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sweeper.program._namespace import Unavailable

SHARED_MEMORY = "/dev/shm"
_LEFT_ALONE = ("/proc", "/sys", "/dev", "/run")
_NOT_FILES = frozenset(
    (
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts"),
        *("devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore"),
        *("ramfs", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs"),
    )
)
_LOOKED_AT = 1000
"""Files of the working directory whose owner is looked at: some ms, in folders of any size."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is put over a folder: an overlay, the folder itself read-only, or itself again (a mount
    that an overlay above it hides)."""

    kind: Literal["overlay", "read_only", "again"]
    path: str
    reason: str = ""
    """Why something that could be written is read-only."""


@dataclass(frozen=True, kw_only=True)
class _Mount:
    number: str
    path: str
    read_only: bool
    fstype: str

    @property
    def holds_files(self) -> bool:
        return self.fstype not in _NOT_FILES and not under(self.path, _LEFT_ALONE)


def plan(cwd: str, user_namespace: bool) -> list[Step]:
    """The steps, parents before children. `Unavailable` where `cwd` itself cannot be covered."""
    if cwd == "/" and os.access("/", os.W_OK):
        raise Unavailable("the working directory is / itself, which no overlay can cover")
    if user_namespace and _holds_foreign_files(cwd):
        raise Unavailable(
            f"{cwd} or a file in it belongs to another user or group, "
            "which an overlay without root cannot copy"
        )
    steps = sorted(_Plan(cwd, user_namespace).steps(), key=lambda step: step.path)
    if any(step.kind == "read_only" and step.path == cwd for step in steps):
        raise Unavailable(f"{cwd} holds mounts, so an overlay needs root to cover it")
    return steps


class _Plan:
    def __init__(self, cwd: str, user_namespace: bool) -> None:
        self.cwd, self.user_namespace = cwd, user_namespace
        self.mounts = list(_mounts())

    def steps(self) -> Iterator[Step]:
        overlays: list[str] = []
        for mount in self.mounts:
            writable = mount.holds_files and not mount.read_only
            # Another container's root, say: not worth a layer each.
            spare = mount.fstype == "overlay" and not under(self.cwd, (mount.path,))
            steps: list[Step] = []
            if mount.path == "/":
                steps += self._split("/") if writable else []
            elif writable and os.path.isdir(mount.path) and not spare:
                steps += self._cover(mount.path)
            elif under(mount.path, overlays) or (writable and os.access(mount.path, os.W_OK)):
                kind: Literal["read_only", "again"] = "read_only" if mount.holds_files else "again"
                reason = "a container's own files" if spare else "a mounted file"
                reason = reason if writable else ""
                steps.append(Step(kind=kind, path=mount.path, reason=reason))
            overlays += [step.path for step in steps if step.kind == "overlay"]
            yield from steps
        if os.path.isdir(SHARED_MEMORY) and not os.path.islink(SHARED_MEMORY):
            yield from self._cover(SHARED_MEMORY)
        if working_folder(self.cwd):
            yield Step(kind="overlay", path=working_folder(self.cwd))

    def _cover(self, path: str) -> Iterator[Step]:
        inside = any(under(mount.path, (path,)) and mount.path != path for mount in self.mounts)
        if not os.access(path, os.X_OK):
            return  # closed to this user, hence to the program
        if self.user_namespace and inside:
            yield from self._split(path)
        else:
            yield Step(kind="overlay", path=path)

    def _split(self, path: str) -> Iterator[Step]:
        """`path` cannot be covered as a whole: its sub-folders are, and its own entries become
        read-only where this user may change them. (For / the caller does that, last of all.)"""
        points = {mount.path for mount in self.mounts}
        writable = os.access(path, os.W_OK)
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.path in points:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from self._cover(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    writable = writable or os.access(entry.path, os.W_OK)
        if writable and path != "/":
            reason = "itself: it holds mounts, which only root could cover with it"
            yield Step(kind="read_only", path=path, reason=reason)


def working_folder(cwd: str) -> str:
    """The folder of the user's that is to be covered although it lies where nothing is; or ""."""
    if not under(cwd, _LEFT_ALONE) or under(cwd, (SHARED_MEMORY,)):
        return ""
    depth = 4 if cwd.startswith("/run/user/") else 3  # /run/user/1000/NAME, /run/lock/NAME
    return "/" + "/".join(cwd.split("/")[1 : depth + 1])


def is_uncovered(path: str) -> bool:
    """Whether a real path is reached past every overlay, once those are mounted."""
    found = [mount for mount in _mounts() if under(path, (mount.path,))]
    return not found or max(found, key=lambda mount: len(mount.path)).fstype != "overlay"


def under(path: str, parents: Sequence[str]) -> bool:
    """Whether `path` is one of `parents` or lies in one."""
    return any(path == parent or path.startswith(parent.rstrip("/") + "/") for parent in parents)


def _mounts() -> Iterator[_Mount]:
    """The mounts that are reached by their own path, parents first. From /proc/self/mountinfo."""
    found: dict[str, _Mount] = {}
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            left, right = line.split(b" - ", 1)
            number, _, _, _, point, options = left.split()[:6]
            fstype, _, super_options = right.split(b" ", 2)
            path = os.fsdecode(re.sub(rb"\\(\d{3})", _character, point))
            read_only = b"ro" in options.split(b",") or b"ro" in super_options.strip().split(b",")
            found[path] = _Mount(
                number=number.decode(), path=path, read_only=read_only, fstype=fstype.decode()
            )
    for path in sorted(found):
        if path == "/" or under(path, _LEFT_ALONE) or _is_on_top(found[path]):
            yield found[path]


def _character(octal: re.Match[bytes]) -> bytes:
    return bytes([int(octal[1], 8)])  # proc(5): a space is written \\040


def _is_on_top(mount: _Mount) -> bool:
    try:
        fd = os.open(mount.path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False  # hidden by another mount, or closed to this user and thus to the program
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            return any(line.split() == [b"mnt_id:", mount.number.encode()] for line in file)
    finally:
        os.close(fd)


def _holds_foreign_files(folder: str) -> bool:
    """Whether the kernel could not copy up `folder`, or one of the files in it, inside a namespace
    that knows this user and this group only."""

    def foreign(status: os.stat_result) -> bool:
        return (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid())

    if not os.access(folder, os.W_OK):
        return False  # nothing is written there anyway
    if os.stat(folder).st_gid != os.getegid():
        return True
    with os.scandir(folder) as entries:
        return any(
            foreign(entry.stat()) and os.access(entry.path, os.W_OK)
            for entry in itertools.islice(entries, _LOOKED_AT)
            if entry.is_file()
        )
