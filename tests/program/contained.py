"""Contained child processes for tests: a user's folder, a run folder in it, and a fork between."""

from __future__ import annotations

import ctypes
import functools
import io
import json
import os
import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import safetensors.torch
import torch

from sweeper.program.containment import contain

NOBODY = 54321
TENSORS = {"w": torch.ones(3)}

Kind = Literal["overlay", "redirect"]
KINDS: tuple[Kind, ...] = ("overlay", "redirect")


def in_child(body: Callable[[], object], user: int | None = None) -> Any:
    """What `body` returns (as JSON) in a forked child, as `user` if given. A failure fails here."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                os.environ["HOME"] = "/nonexistent"
                ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, else /proc/self is root's
            answer = {"value": body()}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        with open(write, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    answer = json.loads(text)
    if "error" in answer:
        pytest.fail(answer["error"])
    return answer["value"]


@functools.cache
def binary_files() -> dict[str, bytes]:
    """Content of the files that libraries read."""
    array, model = io.BytesIO(), io.BytesIO()
    np.save(array, np.arange(4))
    torch.save(TENSORS, model)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t(x)")
        database = connection.serialize()
    tensors = safetensors.torch.save(TENSORS)
    return {
        "array.npy": array.getvalue(), "model.pt": model.getvalue(),
        "model.safetensors": tensors, "data.db": database,
    }  # fmt: skip


class Place:
    """A user's folder with files in it, and a run folder in its `.sweeper`."""

    def __init__(self, root: Path, user: int | None) -> None:
        self.root, self.user = root, user
        self.run = root / ".sweeper/runs/one"
        (root / "sub/deep").mkdir(parents=True)
        self.run.mkdir(parents=True)
        for name in ("a.txt", "b.txt", "c.txt", "sub/x.txt", "sub/deep/y.txt"):
            (root / name).write_text(f"user's {name}")
        (root / "link.txt").symlink_to("a.txt")
        (root / "way").symlink_to("sub")
        (root / "far").symlink_to(root / "sub/deep")
        for name, content in binary_files().items():
            (root / name).write_bytes(content)
        if user is not None:
            for path in (root, *root.rglob("*")):
                os.chown(path, user, user, follow_symlinks=False)

    def state(self) -> dict[str, tuple[object, ...]]:
        """Content, mode, owner, links and modification time of everything outside `.sweeper`."""
        found: dict[str, tuple[object, ...]] = {}
        for path in (self.root, *sorted(self.root.rglob("*"))):
            if ".sweeper" in path.parts:
                continue
            status = path.lstat()
            content: bytes | str = "folder"
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = path.read_bytes()
            attributes = tuple(os.listxattr(path, follow_symlinks=False))
            owner = (status.st_uid, status.st_gid, status.st_nlink)
            found[str(path)] = (status.st_mode, status.st_mtime_ns, owner, attributes, content)
        return found

    def contained(
        self, kind: Kind, program: Callable[[Path], object], run: Path | None = None
    ) -> Any:
        """Run `program(root)` contained; skip where `kind` is not to be had here."""
        folder = run or self.run

        def body() -> object:
            on = contain(folder / "scratch", [folder], self.root, kind)
            if on.kind != kind:
                return {"skip": on.reason}
            return {"result": program(self.root)}

        before = self.state()
        answer = in_child(body, self.user)
        after = self.state()
        changed = {k: (before.get(k), after.get(k)) for k in {*before, *after}}
        changed = {k: v for k, v in changed.items() if v[0] != v[1]}
        assert not changed, f"changed by the program: {changed}"
        if "skip" in answer:
            pytest.skip(f"no {kind} here: {answer['skip']}")
        return answer["result"]
