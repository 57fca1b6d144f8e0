"""Real child processes under both kinds of containment: the user's files stay as they are, byte for
byte, and the program sees what it wrote."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path

import pytest
import torch

from sweeper.program import _namespace
from sweeper.program.containment import Containment, clear, contain
from tests.conftest import PROGRAMS, Runner
from tests.program.contained import KINDS, NOBODY, Kind, Place, in_child
from tests.program.routes import PYTHON, READS_CODE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


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


# -- all routes under another user, and in a folder among devices ----------------------------------


def all_routes(place: Place) -> Callable[[Path], dict[str, str]]:
    """A program that goes every route of `routes` in one process, each in a folder of its own;
    it returns the failures."""
    routes = {k: v for k, v in PYTHON.items() if place.user is None or k not in READS_CODE}
    for name in routes:
        Place(place.root / name, place.user)

    def program(root: Path) -> dict[str, str]:
        failures = {}
        for name, route in routes.items():
            os.chdir(root / name)
            try:
                route(root / name)
            except BaseException:
                failures[name] = traceback.format_exc()
        return failures

    return program


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_an_ordinary_user_stay_as_they_are(folder: Path, kind: Kind) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the routes have a test each")
    place = Place(folder / "home", NOBODY)
    failures = place.contained(kind, all_routes(place))
    assert not failures, "\n".join(failures.values())


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no /dev/shm")
@pytest.mark.parametrize("kind", KINDS)
def test_a_working_folder_among_devices_is_covered_too(kind: Kind) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        place = Place(Path(name), None)
        failures = place.contained(kind, all_routes(place))
        assert not failures, "\n".join(failures.values())
        clear(place.run / "scratch")


@pytest.mark.parametrize("kind", KINDS)
def test_other_folders_are_covered_as_well(own: Place, kind: Kind) -> None:
    """Temporary folders, shared memory, home: what the program writes there is the run's alone."""
    name = f"sweeper-test-{os.getpid()}"
    candidates = ("/tmp", "/var/tmp", "/dev/shm", "/srv", "/root", os.path.dirname(own.root))
    places = [place for place in candidates if os.access(place, os.W_OK)]
    kept = [Path(place, f"{name}-kept") for place in places]

    def program(root: Path) -> None:
        for place in places:
            path = Path(place, name)
            path.write_text("x")
            assert path.read_text() == "x" and name in os.listdir(place)
        for path in kept:
            assert path.read_text() == "user's"
            path.unlink()
        segment = shared_memory.SharedMemory(create=True, size=8)
        segment.buf[:2] = b"ab"
        again = shared_memory.SharedMemory(segment.name)
        assert bytes(again.buf[:2]) == b"ab"
        again.close()
        segment.close()
        segment.unlink()
        assert torch.ones(3).share_memory_().sum() == 3
        with open(os.devnull, "w") as sink:
            sink.write("x")

    for path in kept:
        path.write_text("user's")
    try:
        own.contained(kind, program)
        assert [path.read_text() for path in kept] == ["user's"] * len(kept)
        assert not [place for place in places if os.path.exists(f"{place}/{name}")]
    finally:
        for path in kept:
            path.unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_modules_that_the_program_wrote_can_be_imported(own: Place, kind: Kind) -> None:
    def program(root: Path) -> None:
        Path("written_module.py").write_text("VALUE = 3")
        sys.path.insert(0, str(root))
        assert __import__("written_module").VALUE == 3
        assert runpy.run_path("written_module.py")["VALUE"] == 3
        spec = importlib.util.spec_from_file_location("other", "written_module.py")
        assert spec is not None and spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))

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
def test_the_run_folder_is_shared_with_the_outside(place: Place, kind: Kind) -> None:
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
def test_a_second_try_in_the_same_folder_starts_from_the_originals(own: Place, kind: Kind) -> None:
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


def test_what_trials_wrote_is_deleted_and_what_the_baseline_wrote_is_kept(
    run: Runner, folder: Path
) -> None:
    shutil.copy(PROGRAMS / "writer.py", folder / "writer.py")
    (folder / "old.pt").write_text("old")
    baseline = run(folder / "writer.py")
    written = baseline.folder / "scratch/files" / str(folder).lstrip("/") / "model.pt"
    assert torch.load(written)["weight"].shape == (1, 4)
    for fix, seed in (({"learning_rate": 0.01}, 0), ({}, 1)):
        trial = run(folder / "writer.py", fix, seed=seed)
        assert "wrote torch.Size([1, 4])" in trial.output
        assert not (trial.folder / "scratch").exists()
    assert sorted(os.listdir(folder)) == ["old.pt", "writer.py"]


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
