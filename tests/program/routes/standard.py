"""pathlib, shutil, tempfile and the formats of the standard library."""

from __future__ import annotations

import bz2
import cProfile
import csv
import faulthandler
import fileinput
import gzip
import json
import logging.handlers
import lzma
import mmap
import os
import pickle
import shelve
import shutil
import sqlite3
import tarfile
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.program.routes.base import NEW, descriptor_of, holds, python

# -- pathlib, shutil, tempfile ---


@python
def pathlib_calls(root: Path) -> None:
    Path("a.txt").write_text("new")
    (root / "b.txt").unlink()
    Path("b.txt").unlink(missing_ok=True)
    Path("c.txt").rename(root / "moved")
    Path("moved").replace("sub/x.txt")
    Path("sub/deep/y.txt").chmod(0o600)
    Path("made/deep").mkdir(parents=True)
    Path("made/deep").rmdir()
    Path("sub/soft").symlink_to("x.txt")
    Path("sub/hard").hardlink_to("a.txt")
    Path("sub/hard").write_bytes(NEW + NEW)
    with Path("sub/soft").open("ab") as file:
        file.write(NEW)
    holds("a.txt", NEW + NEW)
    holds("sub/x.txt", b"user's c.txt" + NEW)
    assert not Path("b.txt").exists() and not Path("c.txt").exists()
    assert Path("made").is_dir() and not list(Path("made").iterdir())


@python
def shutil_copies(root: Path) -> None:
    shutil.copy("a.txt", "b.txt")
    shutil.copy2("sub/x.txt", root / "c.txt")
    shutil.copyfile("a.txt", "sub/deep/y.txt")
    shutil.copymode("model.pt", "a.txt")
    shutil.copystat("model.pt", "sub/x.txt")
    shutil.copytree("sub", "copy")
    Path("a.txt").write_bytes(NEW)
    shutil.copytree("copy", "sub/deep", dirs_exist_ok=True)
    holds("b.txt", "user's a.txt")
    holds("c.txt", "user's sub/x.txt")
    holds("sub/deep/y.txt", "user's a.txt")
    holds("sub/deep/x.txt", "user's sub/x.txt")
    holds("sub/deep/deep/y.txt", "user's a.txt")


@python
def shutil_moves_and_removals(root: Path) -> None:
    shutil.move("a.txt", "sub")
    shutil.move("sub", root / "elsewhere")
    shutil.move(str(root / "b.txt"), "c.txt")
    holds("elsewhere/a.txt", "user's a.txt")
    holds("c.txt", "user's b.txt")
    shutil.rmtree("elsewhere/deep")
    shutil.rmtree(root / "elsewhere", ignore_errors=True)
    assert not {"sub", "elsewhere", "a.txt", "b.txt"} & set(os.listdir())


@python
def shutil_archives(root: Path) -> None:
    shutil.make_archive("packed", "zip", "sub")
    shutil.unpack_archive("packed.zip", root / "sub/deep")
    holds("sub/deep/x.txt", "user's sub/x.txt")
    holds("sub/deep/deep/y.txt", "user's sub/deep/y.txt")


@python
def temporary_files(root: Path) -> None:
    with tempfile.NamedTemporaryFile("wb", dir=".", delete=False) as file:
        file.write(NEW)
    os.replace(file.name, "a.txt")
    holds("a.txt", NEW)
    with tempfile.TemporaryDirectory(dir="sub") as folder:
        Path(folder, "x").write_bytes(NEW)
    assert sorted(os.listdir("sub")) == ["deep", "x.txt"]
    with tempfile.NamedTemporaryFile() as named, tempfile.TemporaryFile(dir=root) as nameless:
        nameless.write(NEW)
        named.write(NEW)
        named.flush()
        holds(named.name, NEW)
    fd, name = tempfile.mkstemp(dir=root)
    os.close(fd)
    os.rename(name, "b.txt")
    holds("b.txt", b"")


# -- formats of the standard library ---


@python
def compressed_files(root: Path) -> None:
    opened: list[tuple[Any, str]] = [(gzip, "a.txt"), (bz2, "b.txt"), (lzma, "c.txt")]
    for module, path in opened:
        with module.open(path, "wb") as file:
            file.write(NEW)
        with module.open(root / path) as file:
            assert file.read() == NEW
    with gzip.GzipFile("sub/x.txt", "wb") as file:
        file.write(NEW)


@python
def archives(root: Path) -> None:
    with zipfile.ZipFile("a.txt", "w") as archive:
        archive.write("b.txt")
        archive.writestr("c.txt", "unzipped")
    with zipfile.ZipFile(root / "a.txt") as archive:
        archive.extractall("sub")
        archive.extract("c.txt", root)
    with tarfile.open("sub/x.txt", "w:gz") as tar:
        tar.add("c.txt", arcname="y.txt")
    with tarfile.open("sub/x.txt") as tar:
        tar.extractall("sub/deep", filter="data")
    for path in ("c.txt", "sub/c.txt", "sub/deep/y.txt"):
        holds(path, "unzipped")


@python
def serialised_values(root: Path) -> None:
    with open("a.txt", "wb") as binary:
        pickle.dump(3, binary)
    with open("b.txt", "w") as text:
        json.dump([1], text)
    with open("c.txt", "w", newline="") as table:
        csv.writer(table).writerow([1, 2])
    with shelve.open("shelf") as shelf:
        shelf["key"] = 1
    with shelve.open(str(root / "shelf")) as shelf:
        assert shelf["key"] == 1
    assert pickle.loads(Path("a.txt").read_bytes()) == 3
    holds("b.txt", "[1]")
    holds("c.txt", "1,2\r\n")


@python
def logs(root: Path) -> None:
    logger = logging.Logger("routes")
    handler = logging.handlers.RotatingFileHandler("a.txt", maxBytes=20, backupCount=2)
    logger.addHandler(handler)
    for number in range(6):
        logger.warning("message %d", number)
    handler.close()
    assert "message 5" in Path("a.txt").read_text() and Path("a.txt.2").exists()
    cProfile.Profile().run("1").dump_stats("b.txt")
    with open("c.txt", "w") as file:
        faulthandler.dump_traceback(file)
    assert Path("b.txt").stat().st_size and "logs" in Path("c.txt").read_text()


@python
def edits_in_place(root: Path) -> None:
    with fileinput.input("a.txt", inplace=True, backup=".old") as lines:
        for line in lines:
            print(line.upper(), end="")
    holds("a.txt", "USER'S A.TXT")


@python
def maps_of_memory(root: Path) -> None:
    with open("a.txt", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:4] = b"USER"
        mapped.flush()
    with descriptor_of("b.txt", os.O_RDWR) as fd, mmap.mmap(fd, 4) as mapped:
        mapped[:] = b"Uuuu"
    holds("a.txt", "USER's a.txt")
    holds("b.txt", "Uuuu's b.txt")


@python
def databases(root: Path) -> None:
    for name in ("data.db", root / "data.db", f"file:{root}/data.db?mode=rw"):
        with closing(sqlite3.connect(name, uri=isinstance(name, str))) as connection, connection:
            connection.execute("insert into t values (1)")
    with closing(sqlite3.connect("data.db")) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("insert into t values (1)")
        connection.commit()
        with closing(sqlite3.connect("copy.db")) as copy:
            connection.backup(copy)
            assert copy.execute("select count(*) from t").fetchone() == (4,)
