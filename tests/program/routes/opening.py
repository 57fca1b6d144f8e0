"""Files opened and written."""

from __future__ import annotations

import codecs
import io
import os
from pathlib import Path

from tests.program.routes.base import NEW, descriptor_of, holds, python


@python
def open_for_writing(root: Path) -> None:
    for path in ("a.txt", root / "b.txt", b"c.txt", str(root / "sub//./x.txt")):
        with open(path, "wb") as file:
            file.write(NEW)
            assert file.name == (os.fspath(path) if isinstance(path, Path) else path)
        holds(path, NEW)


@python
def open_for_appending(root: Path) -> None:
    with open("a.txt", "ab") as file:
        assert file.tell() == len("user's a.txt")
        file.write(NEW)
    holds(root / "a.txt", b"user's a.txt" + NEW)


@python
def open_for_updating(root: Path) -> None:
    with open("a.txt", "r+b", buffering=0) as file:
        file.seek(2)
        file.write(b"ERS")
        file.truncate()
    holds("a.txt", b"usERS")


@python
def open_exclusively(root: Path) -> None:
    for mode in ("x", "xb"):
        try:
            open("a.txt", mode).close()
        except FileExistsError:
            continue
        raise AssertionError("an existing file was created")
    with open("sub/new.txt", "x") as file:
        file.write("new")
    holds(root / "sub/new.txt", NEW)


@python
def open_with_an_opener(root: Path) -> None:
    with descriptor_of("sub", os.O_RDONLY) as folder:

        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600, dir_fd=folder)

        with open("x.txt", "wb", opener=opener) as file:
            file.write(NEW)
        with io.FileIO("deep/y.txt", "w", opener=opener) as raw:
            raw.write(NEW)
    holds("sub/x.txt", NEW)
    holds("sub/deep/y.txt", NEW)


@python
def io_and_codecs(root: Path) -> None:
    with io.open("a.txt", "wb") as file:  # noqa: UP020
        file.write(NEW)
    with codecs.open("b.txt", "w", encoding="utf-8") as text:
        text.write("new")
    with io.FileIO(root / "c.txt", "r+") as raw:
        raw.write(b"U")
    with io.FileIO("sub/x.txt", "w") as raw:
        raw.write(NEW)
    for path in ("a.txt", "b.txt", "sub/x.txt"):
        holds(path, NEW)
    holds("c.txt", "User's c.txt")
