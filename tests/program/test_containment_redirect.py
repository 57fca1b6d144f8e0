"""The Python-level view by itself: it must behave like a file system and change nothing real."""

from __future__ import annotations

import errno
import glob
import importlib
import io
import os
import pickle
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.program import _redirect_libraries
from sweeper.program._redirect import Redirect

Tree = dict[str, tuple[int, bytes | str]]


def tree_of(root: Path) -> Tree:
    """Everything below `root` as the file functions show it: mode, and content or target."""
    found: Tree = {}
    for folder, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(folder, name)
            inside = os.path.relpath(path, root)
            mode = os.lstat(path).st_mode
            if os.path.islink(path):
                found[inside] = (mode, os.readlink(path))
            elif os.path.isdir(path):
                found[inside] = (mode, "")
            else:
                with open(path, "rb") as file:
                    found[inside] = (mode, file.read())
    return found


def make_user_files(root: Path) -> None:
    for name in ("a", "b", "sub/c", "sub/deep/d", "full/e"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"original {name}")
    (root / "empty").mkdir()
    (root / "link").symlink_to("a")
    (root / "way").symlink_to("sub")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = (tmp_path / "home").resolve()
    root.mkdir()
    make_user_files(root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def redirected(home: Path, tmp_path: Path) -> Iterator[Path]:
    """The user's folder under a redirection. Afterwards, without it, nothing has changed."""
    before = tree_of(home)
    scratch = (tmp_path / "scratch").resolve()
    redirect = Redirect(str(scratch), [], str(home))
    try:
        _redirect_libraries.install(redirect)
        yield home
    finally:
        redirect.uninstall()
        os.chdir(home)
    assert tree_of(home) == before


def test_reads_see_the_original_until_the_run_writes(redirected: Path) -> None:
    assert Path("a").read_text() == "original a"
    Path("a").write_text("mine")
    assert (redirected / "a").read_text() == "mine"
    assert Path("link").read_text() == "mine"


def test_file_objects_and_errors_carry_the_given_names(redirected: Path) -> None:
    with open("new", "w") as file:
        assert file.name == "new"
    os.remove("a")
    attempts: tuple[Callable[[], object], ...]
    attempts = (lambda: read("a"), lambda: os.stat("a"), lambda: os.rename("a", "z"))
    for attempt in attempts:
        with pytest.raises(FileNotFoundError) as caught:
            attempt()
        assert caught.value.filename == "a"
    with pytest.raises(FileExistsError):
        write("b", "x")()


def test_listings_merge_what_is_left_and_what_is_new(redirected: Path) -> None:
    os.remove("sub/c")
    Path("sub/new").write_text("")
    expected = ["deep", "new"]
    assert sorted(os.listdir("sub")) == expected
    assert sorted(entry.name for entry in os.scandir("sub")) == expected
    assert sorted(path.name for path in Path("sub").iterdir()) == expected
    assert sorted(path.name for path in Path("sub").glob("*")) == expected
    assert os.listdir(b"empty") == []
    assert next(os.walk("sub")) == ("sub", ["deep"], ["new"])


def test_a_removed_folder_stays_hidden_when_made_again(redirected: Path) -> None:
    shutil.rmtree("sub")
    assert not os.path.exists("sub/deep/d")
    os.makedirs("sub/deep")
    assert os.listdir("sub/deep") == []
    assert os.listdir("way") == ["deep"]


def test_references_made_by_other_modules_are_redirected(redirected: Path) -> None:
    with tempfile.NamedTemporaryFile("w", dir=".", delete=False) as file:
        file.write("x")
    os.replace(file.name, "a")
    assert Path("a").read_text() == "x"
    with tempfile.NamedTemporaryFile("w", dir=".") as file:
        assert os.path.exists(file.name)  # its removal is a default argument made at import
    assert not os.path.exists(file.name)
    assert pickle.loads(pickle.dumps([open, os.remove])) == [open, os.remove]
    with io.FileIO("b", "w") as raw_file:
        assert isinstance(raw_file, io.FileIO)
        raw_file.write(b"raw")
    assert Path("b").read_text() == "raw"


def test_relative_paths_follow_the_working_directory(redirected: Path) -> None:
    os.makedirs("out/deep")
    os.chdir("out/deep")
    assert os.getcwd() == str(redirected / "out/deep") == os.path.abspath(".")
    Path("../file").write_text("x")
    Path("../../a").write_text("y")
    os.chdir(redirected)
    assert Path("out/file").read_text() == "x"
    assert Path("a").read_text() == "y"


def test_folder_descriptors(redirected: Path) -> None:
    folder = os.open("sub", os.O_RDONLY)
    try:
        file = os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
        os.close(file)
        os.remove("c", dir_fd=folder)
        assert sorted(os.listdir(folder)) == ["deep", "new"]
        assert sorted(entry.path for entry in os.scandir(folder)) == [
            str(redirected / "sub/deep"),
            str(redirected / "sub/new"),
        ]
    finally:
        os.close(folder)
    assert sorted(os.listdir("sub")) == ["deep", "new"]


def test_databases_with_and_without_uri(redirected: Path) -> None:
    for database, uri in (("db", False), (f"file:{redirected}/db?mode=rw", True)):
        with sqlite3.connect(database, uri=uri) as connection:
            connection.execute("create table if not exists t(x)")
            connection.execute("insert into t values (1)")
        connection.close()
    connection = sqlite3.connect(redirected / "db")
    assert connection.execute("select count(*) from t").fetchone() == (2,)
    connection.close()
    memory = sqlite3.connect(":memory:")
    memory.close()


def test_libraries_in_other_languages_get_the_real_places(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins with the real entry points of h5py, pyarrow and OpenCV, whose C code would open
    the path that it is given."""
    fakes = tmp_path / "fakes"
    (fakes / "pyarrow").mkdir(parents=True)
    (fakes / "h5py.py").write_text(
        "class File:\n    def __init__(self, name, mode='r', **rest): self.name = name\n"
    )
    (fakes / "cv2.py").write_text("def imwrite(filename, img): return filename\n")
    (fakes / "pyarrow/__init__.py").write_text("def OSFile(path, mode='r'): return path\n")
    (fakes / "pyarrow/parquet.py").write_text("def write_table(table, where): return where\n")
    monkeypatch.syspath_prepend(str(fakes))
    for loaded in [n for n in sys.modules if n.partition(".")[0] in ("h5py", "pyarrow", "cv2")]:
        monkeypatch.delitem(sys.modules, loaded)  # the real one: another test may have needed it
    scratch = (tmp_path / "scratch").resolve()
    redirect = Redirect(str(scratch), [], str(home))
    try:
        _redirect_libraries.install(redirect)
        h5py, cv2, pyarrow = (importlib.import_module(n) for n in ("h5py", "cv2", "pyarrow"))
        parquet = importlib.import_module("pyarrow.parquet")
        written = f"{scratch}/files{home}"
        assert h5py.File("a").name == h5py.File("a", "r").name == str(home / "a")
        assert h5py.File("a", mode="a").name == f"{written}/a"
        assert Path(f"{written}/a").read_text() == "original a"  # opened for appending: a copy
        assert h5py.File(home / "a").name == f"{written}/a"
        assert cv2.imwrite("b", None) == f"{written}/b"
        assert pyarrow.OSFile("sub/c") == str(home / "sub/c")
        assert pyarrow.OSFile("sub/c", "wb") == f"{written}/sub/c"
        assert parquet.write_table(None, where="new") == f"{written}/new"
        in_memory = io.BytesIO()
        assert parquet.write_table(None, in_memory) is in_memory
    finally:
        redirect.uninstall()
        for name in ("h5py", "cv2", "pyarrow", "pyarrow.parquet"):
            sys.modules.pop(name, None)


def test_pipes_and_devices_are_left_alone(redirected: Path) -> None:
    with open(os.devnull, "w") as sink:
        sink.write("x")
    read, write = os.pipe()
    with open(write, "w") as file:
        file.write("x")
    with open(read) as file:
        assert file.read() == "x"


def test_a_loop_of_links_ends(redirected: Path) -> None:
    os.symlink("one", "two")
    os.symlink("two", "one")
    with pytest.raises(OSError) as caught:
        read("one")
    assert caught.value.errno == errno.ELOOP


def test_functions_kept_as_members_are_redirected(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `glob` does from Python 3.13 on."""
    holder: Any = type("Holder", (), {"scandir": staticmethod(os.scandir)})
    monkeypatch.setattr(glob, "Holder", holder, raising=False)
    redirect = Redirect(str((tmp_path / "scratch").resolve()), [], str(home))
    try:
        redirect.install()
        os.remove("sub/c")
        assert [entry.name for entry in holder.scandir("sub")] == ["deep"]
    finally:
        redirect.uninstall()
    assert sorted(entry.name for entry in holder.scandir("sub")) == ["c", "deep"]


def test_uninstall_restores_every_reference(home: Path, tmp_path: Path) -> None:
    before = (open, io.open, io.FileIO, os.open, os.stat, os.rename, shutil.os.remove)  # type: ignore[attr-defined]
    defaults = tempfile._TemporaryFileCloser.close.__defaults__  # type: ignore[attr-defined]
    environment = dict(os.environ)
    redirect = Redirect(str(tmp_path / "scratch"), [], str(home))
    _redirect_libraries.install(redirect)
    assert os.open is not before[3]
    redirect.uninstall()
    after = (open, io.open, io.FileIO, os.open, os.stat, os.rename, shutil.os.remove)  # type: ignore[attr-defined]
    assert after == before
    assert tempfile._TemporaryFileCloser.close.__defaults__ == defaults  # type: ignore[attr-defined]
    assert dict(os.environ) == environment


# -- the same random calls on a real folder and on a redirected one --------------------------------

PLACES = ("a", "b", "sub", "sub/c", "sub/deep", "sub/deep/d", "full", "full/e", "empty", "new")
MORE_PLACES = (*PLACES, "new/x", "link", "way", "way/c", "dangling", "empty/../b")


def read(path: str) -> object:
    with open(path, "rb") as file:
        return file.read()


def write(path: str, mode: str) -> Callable[[], object]:
    def call() -> None:
        with open(path, mode) as file:
            file.write("w")

    return call


def random_call(chance: random.Random) -> tuple[str, Callable[[], object]]:
    one, two = chance.choice(MORE_PLACES), chance.choice(MORE_PLACES)
    name, call = chance.choice(
        [
            ("read", lambda: read(one)),
            ("write", write(one, "w")),
            ("append", write(one, "a")),
            ("update", write(one, "r+")),
            ("exclusive", write(one, "x")),
            ("remove", lambda: os.remove(one)),
            ("rename", lambda: os.rename(one, two)),
            ("replace", lambda: os.replace(one, two)),
            ("mkdir", lambda: os.mkdir(one)),
            ("makedirs", lambda: os.makedirs(one, exist_ok=True)),
            ("rmdir", lambda: os.rmdir(one)),
            ("rmtree", lambda: shutil.rmtree(one)),
            ("move", lambda: bool(shutil.move(one, two))),
            ("copytree", lambda: bool(shutil.copytree(one, two, symlinks=True))),
            ("symlink", lambda: os.symlink(one, two)),
            ("link", lambda: os.link(one, two, follow_symlinks=False)),
            ("truncate", lambda: os.truncate(one, 3)),
            ("chmod", lambda: os.chmod(one, 0o750)),
            ("listdir", lambda: sorted(os.listdir(one))),
            ("exists", lambda: (os.path.exists(one), os.path.isdir(one), os.path.islink(one))),
            ("realpath", lambda: os.path.relpath(os.path.realpath(one))),
            ("size", lambda: os.path.isfile(one) and os.path.getsize(one)),
        ]
    )
    return f"{name} {one} {two}", call


def outcome(name: str, call: Callable[[], object]) -> object:
    try:
        return call()
    except (OSError, shutil.Error) as error:
        # Which of several true reasons is told may differ: ENOTDIR or ENOENT below a file, and
        # shutil.rmtree goes by descriptors on the real folder, by paths on the other.
        same = {errno.ENOTDIR: errno.ENOENT, errno.EEXIST: errno.ENOTEMPTY}
        return "error", name.startswith("rmtree") or same.get(error.errno or 0, error.errno)


def perform(seed: int, root: Path) -> list[tuple[str, object]]:
    chance = random.Random(seed)
    os.chdir(root)
    calls = [random_call(chance) for _ in range(25)]
    return [(name, outcome(name, call)) for name, call in calls]


@pytest.mark.parametrize("seed", range(40))
def test_random_calls_do_as_on_a_real_folder(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    real, home = (tmp_path / "real").resolve(), (tmp_path / "home").resolve()
    for root in (real, home):
        root.mkdir()
        make_user_files(root)
    expected: Any = (perform(seed, real), tree_of(real))
    before = tree_of(home)
    redirect = Redirect(str((tmp_path / "scratch").resolve()), [], str(tmp_path.resolve()))
    try:
        redirect.install()
        actual = (perform(seed, home), tree_of(home))
    finally:
        redirect.uninstall()
        os.chdir(tmp_path)
    assert actual[0] == expected[0]
    assert actual[1] == expected[1]
    assert tree_of(home) == before
