"""Mount and user namespaces of the calling process, and the system calls for them."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000  # linux/sched.h
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18  # linux/mount.h
KEPT_FLAGS = 2 | 4 | 8 | 1024 | 2048
"""nosuid, nodev, noexec, noatime, nodiratime: the same bits in statvfs. A user namespace may not
clear the flags that a mount came with."""
_MNT_DETACH = 2
_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h


class Unavailable(Exception):
    """Why the kernel's means cannot be had; the process is fit to go on without them."""


_entered = False
"""This process is in a user namespace that it made."""


def enter_namespace() -> bool:
    """Give this process mounts of its own. True when that needed a user namespace.

    Raises `Unavailable`. To be undone by nothing but the end of the process.
    """
    global _entered
    if sys.platform != "linux":
        raise Unavailable(f"mount namespaces need Linux, this is {sys.platform}")
    if len(os.listdir("/proc/self/task")) > 1:
        raise Unavailable("the process already runs several threads")
    try:
        call("unshare", CLONE_NEWNS)
        user_namespace = _entered
    except OSError as error:
        if error.errno != errno.EPERM:
            raise Unavailable(f"no mount namespace: {error}") from error
        refusal = user_namespace_refusal()
        if refusal:
            raise Unavailable(f"user namespaces are not permitted here: {refusal}") from error
        _enter_user_namespace()
        user_namespace = _entered = True
    _make_private()
    return user_namespace


class Way:
    """The way back to the mounts as they are now, for children of this process that are forked
    after its mounts have changed. To be made in a namespace of its own (`enter_namespace`), and
    `rest` to be called before the program runs."""

    def __init__(self) -> None:
        self._mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._capabilities = _capabilities()

    def rest(self) -> None:
        """In a user namespace: no capability is in force (as after `drop_capabilities`), and all
        can be again."""
        if _entered:
            _, permitted, inheritable = self._capabilities
            _set_capabilities((0, 0), permitted, inheritable)

    def back(self) -> None:
        """In a child with one thread: the mounts of then."""
        if _entered:
            _set_capabilities(*self._capabilities)
        call("setns", self._mounts, CLONE_NEWNS)
        os.close(self._mounts)


_Words = tuple[int, int]


def _capabilities() -> tuple[_Words, _Words, _Words]:
    """Effective, permitted and inheritable, as two words of 32 bits each (capget(2))."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    call("capget", header, data)
    return (data[0], data[3]), (data[1], data[4]), (data[2], data[5])


def _set_capabilities(effective: _Words, permitted: _Words, inheritable: _Words) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    words = (effective[0], permitted[0], inheritable[0], effective[1], permitted[1], inheritable[1])
    call("capset", header, (ctypes.c_uint32 * 6)(*words))


@functools.cache
def user_namespace_refusal() -> str:
    """Why this user gets no user namespace; "" when he does. Tried in a child, because a refusal
    half-way (AppArmor on Ubuntu, root without CAP_SETFCAP in a container) leaves a process without
    a valid user for good. Asked once in a fork server, it costs the forked children nothing."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _enter_user_namespace()
            _make_private()
            code = 0
        except OSError as error:
            code = error.errno or 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return os.strerror(abs(code)) if code else ""


def _enter_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    for name, text in (
        ("setgroups", b"deny"),
        ("uid_map", b"%d %d 1" % (user, user)),
        ("gid_map", b"%d %d 1" % (group, group)),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)


def _make_private() -> None:
    mount(None, "/", None, MS_REC | MS_PRIVATE)


def drop_capabilities() -> None:
    """An ordinary user must not be able to write a file that he marked read-only, only because he
    has all capabilities in a namespace of his own."""
    if os.getuid() != 0:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        call("capset", header, (ctypes.c_uint32 * 6)())


def mount(
    source: str | None, target: str, fstype: str | None, flags: int, options: str | None = None
) -> None:
    """mount(2)."""
    names = [None if text is None else os.fsencode(text) for text in (source, target, fstype)]
    call("mount", *names, flags, None if options is None else options.encode())


def unmount(target: str) -> None:
    """umount2(2), lazily; errors do not matter to who cleans up."""
    ctypes.CDLL(None).umount2(os.fsencode(target), _MNT_DETACH)


def remount_read_only(path: str) -> None:
    """The mount at `path`, in this namespace only."""
    kept = os.statvfs(path).f_flag & KEPT_FLAGS
    mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def call(name: str, *arguments: Any) -> None:
    """A libc call that returns 0 or fails with errno."""
    converted = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*converted) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), " ".join([name, *map(repr, arguments[:2])]))
