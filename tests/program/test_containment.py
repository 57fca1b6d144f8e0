"""Real child processes under both kinds of containment: the user's files stay as they are, byte for
byte, and the program sees what it wrote."""

from __future__ import annotations

import ctypes
import gzip
import importlib.util
import json
import logging
import multiprocessing
import os
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.utils.data import DataLoader

from sweeper.program import _namespace
from sweeper.program.containment import Containment, clear, contain

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")
NOBODY = 54321
TENSORS = {"w": torch.ones(3)}


# -- children --------------------------------------------------------------------------------------


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
        np.save(root / "array.npy", np.arange(4))
        torch.save(TENSORS, root / "model.pt")
        safetensors.torch.save_file(TENSORS, root / "model.safetensors")
        with sqlite3.connect(root / "data.db") as connection:
            connection.execute("create table t(x)")
        connection.close()
        if user is not None:
            for path in (root, *root.rglob("*")):
                os.chown(path, user, user, follow_symlinks=False)

    def state(self) -> dict[str, tuple[int, int, bytes | str]]:
        """Mode, modification time and content of everything outside `.sweeper`."""
        found: dict[str, tuple[int, int, bytes | str]] = {}
        for path in sorted(self.root.rglob("*")):
            if ".sweeper" in path.parts:
                continue
            status = path.lstat()
            content: bytes | str = "folder"
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = path.read_bytes()
            found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
        return found

    def contained(
        self,
        kind: Literal["overlay", "redirect"],
        program: Callable[[Path], object],
        run: Path | None = None,
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
        assert self.state() == before
        if "skip" in answer:
            pytest.skip(f"no {kind} here: {answer['skip']}")
        return answer["result"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not `tmp_path`, into which another user may not go; with a name that needs quoting."""
    with tempfile.TemporaryDirectory(prefix="a b,c:d-") as name:
        os.chmod(name, 0o755)
        yield Path(name).resolve()
        clear(Path(name))
        for path in Path(name).rglob("scratch"):
            clear(path)


@pytest.fixture(params=["own user", "nobody"])
def place(request: pytest.FixtureRequest, folder: Path) -> Place:
    if request.param == "nobody" and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return Place(folder / "home", NOBODY if request.param == "nobody" else None)


@pytest.fixture
def own(folder: Path) -> Place:
    return Place(folder / "home", None)


# -- programs, one per route -----------------------------------------------------------------------


def open_modes(root: Path) -> None:
    with open("a.txt", "w") as file:
        file.write("new")
        assert file.name == "a.txt"
    assert (root / "a.txt").read_text() == Path("link.txt").read_text() == "new"
    with open(root / "b.txt", "a") as file:
        file.write("+")
    assert Path("b.txt").read_text() == "user's b.txt+"
    with open("c.txt", "r+b") as binary:
        binary.write(b"U")
    assert Path("c.txt").read_text() == "User's c.txt"
    with open("sub/new.txt", "x") as file:
        file.write("x")
    descriptor = os.open("raw.txt", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"raw")
    os.close(descriptor)
    assert sorted(os.listdir("sub")) == ["deep", "new.txt", "x.txt"]
    assert Path("raw.txt").read_bytes() == b"raw"


def links(root: Path) -> None:
    Path("link.txt").write_text("through")
    assert Path("a.txt").read_text() == "through" and Path("link.txt").is_symlink()
    Path("way/x.txt").write_text("through")
    assert (root / "sub/x.txt").read_text() == "through"
    (root / "far/y.txt").unlink()
    assert not (root / "sub/deep/y.txt").exists()
    os.symlink(root / "b.txt", "again")
    Path("again").write_text("B")
    assert Path("b.txt").read_text() == "B"
    os.link("b.txt", "hard")
    assert Path("hard").read_text() == "B"
    os.remove("way")
    assert not os.path.lexists("way") and os.path.exists("sub/x.txt")


def rename_and_delete(root: Path) -> None:
    os.rename("a.txt", "moved.txt")
    os.replace("b.txt", root / "c.txt")
    assert Path("moved.txt").read_text() == "user's a.txt"
    assert Path("c.txt").read_text() == "user's b.txt"
    assert not Path("a.txt").exists() and not (root / "b.txt").exists()
    os.rename("sub", "other")
    assert Path("other/deep/y.txt").read_text() == "user's sub/deep/y.txt"
    assert not Path("sub").exists() and not Path("way/x.txt").exists()
    shutil.rmtree("other")
    assert not Path("other").exists()
    os.makedirs("sub/deep")
    assert os.listdir("sub/deep") == [] == list(Path("sub").glob("*.txt"))
    Path("c.txt").unlink()
    with pytest.raises(FileNotFoundError):
        Path("c.txt").read_text()


def copy_and_move(root: Path) -> None:
    shutil.copytree("sub", "copy")
    shutil.move("a.txt", "copy")
    shutil.copy("b.txt", "copy/deep")
    assert sorted(os.listdir("copy")) == ["a.txt", "deep", "x.txt"]
    assert sorted(os.listdir("copy/deep")) == ["b.txt", "y.txt"]
    elsewhere = tempfile.mkdtemp()
    os.rename("copy", os.path.join(elsewhere, "copy"))
    os.rename(os.path.join(elsewhere, "copy/a.txt"), root / "b.txt")
    assert Path("b.txt").read_text() == "user's a.txt"


def working_directory(root: Path) -> None:
    os.makedirs("out/one")
    os.chdir("out/one")
    Path("here.txt").write_text("1")
    Path("../../a.txt").write_text("2")
    assert os.getcwd() == str(root / "out/one")
    os.chdir(root / "way")
    assert Path("x.txt").read_text() == "user's sub/x.txt"
    os.remove("x.txt")
    os.chdir(root)
    assert Path("out/one/here.txt").read_text() == "1" and Path("a.txt").read_text() == "2"
    assert not Path("sub/x.txt").exists()


def attributes(root: Path) -> None:
    os.chmod("a.txt", 0o600)
    os.utime(root / "b.txt", (5, 5))
    os.truncate("c.txt", 3)
    Path("new.txt").touch()
    os.chmod("sub", 0o700)
    assert os.stat("a.txt").st_mode & 0o777 == 0o600 and os.path.getmtime("b.txt") == 5
    assert os.path.getsize("c.txt") == 3 and os.stat("sub").st_mode & 0o777 == 0o700


def elsewhere(root: Path) -> None:
    name = f"sweeper-test-{os.getpid()}"
    for place in {"/tmp", "/var/tmp", os.path.dirname(root)}:
        path = Path(place, name)
        if os.access(place, os.W_OK):
            path.write_text("x")
            assert path.read_text() == "x"
    with open(os.devnull, "w") as sink:
        sink.write("x")


def arrays(root: Path) -> None:
    np.save("array.npy", np.zeros(4))
    np.savetxt("table.csv", np.eye(2))
    np.ones(3).tofile("raw.bin")
    assert np.load(root / "array.npy").sum() == 0
    assert np.loadtxt(root / "table.csv").sum() == 2 and np.fromfile("raw.bin").sum() == 3
    mapped = np.memmap("map.bin", dtype="f4", mode="w+", shape=(4,))
    mapped[:] = 2
    mapped.flush()
    assert np.memmap("map.bin", dtype="f4", mode="r").sum() == 8
    np.load("array.npy", mmap_mode="r+")[0] = 7
    assert np.load("array.npy")[0] == 7


def databases(root: Path) -> None:
    for name in ("data.db", root / "data.db", "new.db"):
        with sqlite3.connect(name) as connection:
            connection.execute("create table if not exists t(x)")
            connection.execute("insert into t values (1)")
        connection.close()
    connection = sqlite3.connect("data.db")
    assert connection.execute("select count(*) from t").fetchone() == (2,)
    connection.close()


def archives_and_logs(root: Path) -> None:
    with gzip.open("x.gz", "wt") as file:
        file.write("x")
    with tarfile.open("x.tar", "w") as archive:
        archive.add("a.txt")
    with tarfile.open(root / "x.tar") as archive:
        archive.extractall("unpacked", filter="data")
    assert Path("unpacked/a.txt").read_text() == "user's a.txt"
    handler = logging.FileHandler("b.txt")
    handler.emit(logging.LogRecord("x", logging.INFO, "x", 1, "logged", None, None))
    handler.close()
    assert Path("b.txt").read_text() == "user's b.txtlogged\n"
    with tempfile.NamedTemporaryFile("w", dir=".", delete=False) as temporary:
        temporary.write("whole")
    os.replace(temporary.name, "c.txt")
    assert Path("c.txt").read_text() == "whole"


PLAIN = (
    open_modes,
    links,
    rename_and_delete,
    copy_and_move,
    working_directory,
    attributes,
    elsewhere,
    arrays,
    databases,
    archives_and_logs,
)


def tensors(root: Path) -> None:
    changed = {"w": torch.zeros(3)}
    torch.save(changed, "model.pt")
    torch.save(changed, root / "sub/old.pt", _use_new_zipfile_serialization=False)
    torch.save(changed, "n\u00e9w.pt")
    for path in ("model.pt", root / "model.pt", "sub/old.pt", "n\u00e9w.pt"):
        assert torch.load(path)["w"].sum() == 0
    assert torch.load("model.pt", mmap=True)["w"].sum() == 0
    safetensors.torch.save_file(changed, "model.safetensors")
    assert safetensors.torch.load_file(root / "model.safetensors")["w"].sum() == 0
    shared: Any = torch.UntypedStorage.from_file("raw.bin", True, 8)
    shared.fill_(1)
    assert Path("raw.bin").read_bytes() == b"\x01" * 8


def script(root: Path) -> None:
    module = torch.jit.script(torch.nn.Linear(2, 2))
    module.save("model.pt")
    torch.jit.save(module, root / "other.pt")
    for path in ("model.pt", "other.pt"):
        assert torch.jit.load(path)(torch.ones(1, 2)).shape == (1, 2)


def workers(root: Path) -> None:
    Path("a.txt").write_text("mine")
    loader = DataLoader(Files(), batch_size=2, num_workers=2)
    assert [batch.tolist() for batch in loader] == [[4, 4], [4, 4]]
    Path("sub/x.txt").unlink()
    process = multiprocessing.get_context("fork").Process(target=os.remove, args=("b.txt",))
    process.start()
    process.join()
    assert not Path("b.txt").exists()


class Files(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return len(Path("a.txt").read_text())


def python_programs(root: Path) -> None:
    code = "import os; open('new.txt', 'w').write('p'); os.remove('b.txt')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert Path("new.txt").read_text() == "p" and not Path("b.txt").exists()
    Path("sub/step.py").write_text("open('stepped', 'w').write('1'); import os; os.remove('x.txt')")
    subprocess.run([sys.executable, "step.py"], check=True, cwd="sub", env={"PATH": "/bin"})
    assert os.path.exists("sub/stepped") and not os.path.exists("sub/x.txt")
    Path("written_module.py").write_text("VALUE = 3")
    sys.path.insert(0, str(root))
    assert __import__("written_module").VALUE == 3
    assert runpy.run_path("written_module.py")["VALUE"] == 3
    spec = importlib.util.spec_from_file_location("other", "written_module.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


LIBRARIES = (tensors, script, workers, python_programs)
KINDS: tuple[Literal["overlay", "redirect"], ...] = ("overlay", "redirect")


@pytest.mark.parametrize("kind", KINDS)
def test_files_stay_and_the_program_sees_its_own(
    place: Place, kind: Literal["overlay", "redirect"]
) -> None:
    """One contained process for all routes, each in a folder of its own."""
    for program in PLAIN:
        Place(place.root / program.__name__, place.user)

    def programs(root: Path) -> dict[str, str]:
        failures = {}
        for program in PLAIN:
            os.chdir(root / program.__name__)
            try:
                program(root / program.__name__)
            except BaseException:
                failures[program.__name__] = traceback.format_exc()
        return failures

    failures = place.contained(kind, programs)
    assert not failures, "\n".join(failures.values())
    assert not list(Path("/tmp").glob("sweeper-test-*"))


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no /dev/shm")
@pytest.mark.parametrize("kind", KINDS)
def test_a_working_folder_among_devices_is_covered_too(
    kind: Literal["overlay", "redirect"],
) -> None:
    def programs(root: Path) -> None:
        os.chdir(root / "one")
        rename_and_delete(root / "one")
        os.chdir(root / "two")
        open_modes(root / "two")
        segment = shared_memory.SharedMemory(create=True, size=8)
        segment.close()
        segment.unlink()

    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        place = Place(Path(name), None)
        Place(place.root / "one", None)
        Place(place.root / "two", None)
        place.contained(kind, programs)
        clear(place.run / "scratch")


@pytest.mark.parametrize("program", LIBRARIES, ids=lambda program: program.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_libraries_and_other_processes(
    own: Place, kind: Literal["overlay", "redirect"], program: Callable[[Path], None]
) -> None:
    own.contained(kind, program)


SHELL = "rm a.txt; echo x > b.txt; mv c.txt d.txt; mkdir made; rm -r sub"


def test_any_subprocess_is_contained_by_the_overlay(place: Place) -> None:
    def program(root: Path) -> list[str]:
        subprocess.run(["sh", "-c", SHELL], check=True)
        assert Path("b.txt").read_text() == "x\n"
        return sorted(os.listdir())

    left = place.contained("overlay", program)
    assert {"b.txt", "d.txt", "made"} <= set(left) and not {"a.txt", "c.txt", "sub"} & set(left)


def test_any_subprocess_is_refused_behind_the_redirection(place: Place) -> None:
    def program(root: Path) -> int:
        return subprocess.run(["sh", "-c", SHELL], stderr=subprocess.DEVNULL).returncode

    if "Landlock" not in describe(place).description:
        pytest.skip("this kernel has no Landlock")
    assert place.contained("redirect", program) != 0


def describe(place: Place) -> Containment:
    def body() -> list[str]:
        on = contain(place.run / "scratch", [place.run], place.root, "redirect")
        return [on.kind, on.description, on.reason]

    return Containment(*in_child(body, place.user))


# -- the run folder --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_run_folder_is_shared_with_the_outside(
    place: Place, kind: Literal["overlay", "redirect"]
) -> None:
    (place.run / "job.json").write_text("{}")
    if place.user is not None:
        os.chown(place.run / "job.json", place.user, place.user)
    log = os.open(place.run / "output.log", os.O_CREAT | os.O_WRONLY)

    def program(root: Path) -> None:
        Path(".sweeper/runs/one/signals.jsonl").write_text("1")
        (place.run / "outcome.tmp").write_text("done")
        os.replace(place.run / "outcome.tmp", place.run / "outcome.json")
        os.remove(place.run / "job.json")
        os.write(log, b"said")
        Path("a.txt").write_text("kept aside")

    place.contained(kind, program)
    os.close(log)
    assert sorted(os.listdir(place.run)) == [
        "outcome.json",
        "output.log",
        "scratch",
        "signals.jsonl",
    ]
    assert (place.run / "output.log").read_text() == "said"
    written = place.run / "scratch/files" / str(place.root / "a.txt").lstrip("/")
    assert written.read_text() == "kept aside"


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_try_in_the_same_folder_starts_from_the_originals(
    own: Place, kind: Literal["overlay", "redirect"]
) -> None:
    def program(root: Path) -> list[bool]:
        fresh = [os.path.exists("a.txt"), not os.path.exists("new.txt")]
        os.remove("a.txt")
        Path("new.txt").write_text("x")
        shutil.rmtree("sub")
        os.mkdir("sub")
        return fresh

    assert own.contained(kind, program) == [True, True]
    assert own.contained(kind, program) == [True, True]
    clear(own.run / "scratch")
    assert not list((own.run / "scratch").rglob("*"))


def test_clearing_follows_no_link(folder: Path) -> None:
    (folder / "user").mkdir()
    (folder / "user/file").write_text("x")
    (folder / "scratch/files").mkdir(parents=True)
    (folder / "scratch/files/link").symlink_to(folder / "user")
    (folder / "scratch/work").symlink_to(folder / "user")
    clear(folder / "scratch")
    assert (folder / "user/file").read_text() == "x"


# -- the overlay's own matters ---------------------------------------------------------------------


def test_runs_side_by_side_do_not_meet_and_nothing_stays_mounted(place: Place) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    runs = [place.root / f".sweeper/runs/{number}" for number in range(3)]
    results: list[object] = [None] * len(runs)
    before = place.state()

    def child(number: int) -> list[str]:
        on = contain(runs[number] / "scratch", [runs[number].parent], place.root)
        if on.kind != "overlay":
            return [on.reason]
        Path("a.txt").write_text(str(number))
        Path(f"new{number}").write_text("")
        (runs[number] / "ready").write_text("")
        while not all((run / "ready").exists() for run in runs):
            time.sleep(0.005)
        return [Path("a.txt").read_text(), *(p.name for p in place.root.glob("new*"))]

    for run in runs:
        run.mkdir()
        if place.user is not None:
            os.chown(run, place.user, place.user)

    def start(number: int) -> None:
        results[number] = in_child(lambda: child(number), place.user)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if isinstance(results[0], list) and len(results[0]) == 1:
        pytest.skip(str(results[0][0]))
    assert results == [[str(number), f"new{number}"] for number in range(len(runs))]
    assert place.state() == before
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_a_run_inside_an_overlay_writes_to_memory(own: Place) -> None:
    if os.geteuid() != 0:
        pytest.skip("overlay on overlay is tried as root")

    def program(root: Path) -> str:
        inner = root / "inner"  # on the outer overlay, which can hold no upper layer
        (inner / "run").mkdir(parents=True)
        Path("a.txt").write_text("outer")

        def body() -> str:
            on = contain(inner / "run/scratch", [inner / "run"], root)
            Path("a.txt").write_text("inner")
            os.remove("b.txt")
            (inner / "run/outcome.json").write_text("{}")
            return f"{on.kind}: {on.description}"

        told: str = in_child(body)
        assert Path("a.txt").read_text() == "outer" and os.path.exists("b.txt")
        assert (inner / "run/outcome.json").exists()
        return told

    told = own.contained("overlay", program)
    assert told.startswith("overlay") and "held in memory" in told


def test_mounts_inside_a_users_folder_are_covered_too(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount something to be covered")
    place = Place(folder / "home", None)
    disk = place.root / "sub/deep"

    def both(user: int | None) -> object:
        _namespace.enter_namespace()
        _namespace.mount("tmpfs", str(disk), "tmpfs", 0)
        (disk / "data").write_text("user's")
        if user is not None:
            for path in (place.root, *place.root.rglob("*")):
                os.chown(path, user, user, follow_symlinks=False)

        def program() -> str:
            on = contain(place.run / "scratch", [place.run], place.root)
            if on.kind == "overlay":
                (disk / "data").write_text("mine")
                os.remove("a.txt")
                assert (disk / "data").read_text() == "mine"
            return f"{on.kind} {on.description}"

        told = in_child(program, user)
        assert (disk / "data").read_text() == "user's" and (place.root / "a.txt").exists()
        return told

    for user in (None, NOBODY):
        told = in_child(lambda: both(user))  # noqa: B023
        assert told.startswith("overlay") or user is not None
        clear(place.run / "scratch")


def test_an_ordinary_user_stays_one(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    place = Place(folder / "home", NOBODY)
    os.chmod(place.root / "a.txt", 0o444)

    def program(root: Path) -> int:
        with pytest.raises(PermissionError):
            Path("a.txt").write_text("x")
        assert os.getuid() == NOBODY
        answer = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(answer))  # PR_GET_PDEATHSIG
        return answer.value

    ctypes.CDLL(None).prctl(1, 0)
    for kind in KINDS:
        place.contained(kind, program)


def test_the_end_with_the_parent_survives_the_containment(place: Place) -> None:
    def body() -> int:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        contain(place.run / "scratch", [place.run], place.root)
        answer = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(answer))
        return answer.value

    assert in_child(body, place.user) == signal.SIGKILL


# -- which kind, and why ---------------------------------------------------------------------------


def test_the_description_says_which_and_why_not_the_stronger(own: Place) -> None:
    on = describe(own)
    assert on.kind == "redirect" and on.reason == "the overlay was switched off"


def test_without_permission_the_redirection_steps_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str, *arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted", name)

    monkeypatch.setattr(_namespace, "call", refused)
    _namespace.user_namespace_refusal.cache_clear()

    def program() -> list[str]:
        on = contain(place.run / "scratch", [place.run], place.root)
        Path("a.txt").write_text("x")
        return [on.kind, on.reason]

    before = place.state()
    kind, reason = in_child(program, place.user)
    assert kind == "redirect" and "not permitted" in reason
    assert place.state() == before


def test_beside_other_threads_the_redirection_steps_in(own: Place) -> None:
    def program() -> list[str]:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        on = contain(own.run / "scratch", [own.run], own.root)
        stop.set()
        thread.join()
        return [on.kind, on.reason]

    kind, reason = in_child(program)
    assert kind == "redirect" and "threads" in reason


def test_files_of_another_group_need_the_redirection(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    place = Place(folder / "home", NOBODY)
    os.chown(place.root / "a.txt", NOBODY, 12345)

    def program() -> list[str]:
        on = contain(place.run / "scratch", [place.run], place.root)
        Path("a.txt").write_text("x")
        return [on.kind, on.reason]

    before = place.state()
    kind, reason = in_child(program, NOBODY)
    assert kind == "redirect" and ("another user or group" in reason or "not permitted" in reason)
    assert place.state() == before
