"""Landlock: the kernel refuses writes outside the kept folders, from this process and all it
starts.

It redirects nothing. It stands behind the Python-level redirection, so that what goes past Python
(C libraries, ``sh -c 'rm file'``) fails with "Permission denied" instead of changing a user's file.
Needs Linux 5.13, no privileges. It does not govern chmod, chown and utime (kernel documentation,
"current limitations"), and truncation only from 6.2.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_PR_SET_NO_NEW_PRIVS = 38
_RULE_PATH_BENEATH = 1
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14  # linux/landlock.h
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_ALWAYS_WRITABLE = (Path("/dev"), Path("/proc"))


def unavailable() -> str:
    """Why there is no Landlock here, or ""."""
    if sys.platform != "linux":
        return f"Landlock needs Linux, this is {sys.platform}"
    return "" if _version() >= 1 else "this kernel has no Landlock"


def _version() -> int:
    return _syscall(_CREATE_RULESET, None, 0, 1)


def forbid_writes(allowed: Sequence[Path]) -> str:
    """Writes beneath `allowed` (and devices) only, for good. Returns "" or why the kernel cannot do
    this."""
    if reason := unavailable():
        return reason
    version = _version()
    file_rights = _WRITE_FILE | (_TRUNCATE if version >= 3 else 0)
    rights = file_rights | _REMOVE_AND_MAKE | (_REFER if version >= 2 else 0)
    ruleset = _syscall(_CREATE_RULESET, struct.pack("=Q", rights), 8, 0)
    if ruleset < 0:
        return f"no Landlock ruleset: {os.strerror(ctypes.get_errno())}"
    try:
        for path in (*allowed, *_ALWAYS_WRITABLE):
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", rights if os.path.isdir(path) else file_rights, parent)
            added = _syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
            os.close(parent)
            if added < 0:
                return f"no Landlock rule for {path}: {os.strerror(ctypes.get_errno())}"
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if _syscall(_RESTRICT_SELF, ruleset, 0) < 0:
            return f"Landlock refused: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(ruleset)
    return ""


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    converted = [ctypes.c_long(v) if isinstance(v, int) else v for v in arguments]
    return int(libc.syscall(ctypes.c_long(number), *converted))
