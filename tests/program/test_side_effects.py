"""What no file containment holds: seen in the baseline, named, and refused in trials."""

from __future__ import annotations

import ctypes
import http.server
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing import Manager, Process
from pathlib import Path

import pytest

from sweeper.program import _namespace, containment
from sweeper.program._outside_programs import acting, commands, writing
from sweeper.program.containment import contain
from sweeper.program.side_effects import FILE, SideEffect, note, read, was_refused, watch_run
from tests.program.contained import KINDS, Kind, Place, in_child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

Program = Callable[["Outside"], object]


class Outside:
    """A server and a process that are not the program's own, for it to reach."""

    def __init__(self, folder: Path) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"answer")

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                outside.requests += 1

        outside = self
        self.requests = 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/log"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.local = socket.socket(socket.AF_UNIX)
        self.local.bind(str(folder / "socket"))
        self.local.listen()
        self.socket = str(folder / "socket")
        self.sleeper = subprocess.Popen(["sleep", "60"])

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.local.close()
        self.sleeper.kill()
        self.sleeper.wait()


@pytest.fixture
def outside() -> Iterator[Outside]:
    with tempfile.TemporaryDirectory() as name:
        found = Outside(Path(name))
        time.sleep(0.02)  # the socket must be older than the run, as the clock of files goes
        yield found
        found.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "home", None)


def effects_of(
    place: Place,
    program: Callable[[], object],
    *,
    kind: Kind = "overlay",
    trial: bool = False,
    allowed: bool = False,
) -> tuple[SideEffect, ...]:
    """What a contained, watched `program` was seen to do; it may fail where it is refused."""

    def body() -> str:
        on = contain(place.run / "scratch", [place.run], place.root, kind)
        watch = watch_run(place.run, on, trial=trial, allowed=allowed)
        try:
            program()
            watch.ended()
        except (OSError, subprocess.CalledProcessError) as error:
            return str(error)
        return on.kind

    before = place.state()
    (place.run / FILE).unlink(missing_ok=True)
    in_child(body)
    assert place.state() == before
    return tuple(e for e in read(place.run) if "Python's file calls" not in e.what)


# -- what is seen ----------------------------------------------------------------------------------


def post(outside: Outside) -> None:
    urllib.request.urlopen(outside.url, data=b"loss=1").read()


def get(outside: Outside) -> None:
    urllib.request.urlopen(outside.url).read()


def plain_socket(outside: Outside) -> None:
    with socket.create_connection(("localhost", outside.port)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")


def datagram(outside: Outside) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"loss:1|g", ("127.0.0.1", outside.port))


def local_socket(outside: Outside) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(outside.socket)


def asynchronous(outside: Outside) -> None:
    import asyncio

    async def connect() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", outside.port)
        writer.close()

    asyncio.run(connect())


def library_in_c(outside: Outside) -> None:
    """A connection as `asynchronous`, but made by libc itself and still open at the end."""
    outside.server.socket.close()  # this child's copy: who listens there is another
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", outside.port, b"\x7f\0\0\1")
    assert libc.connect(fd, address, len(address)) == 0


def from_a_forked_process(outside: Outside) -> None:
    process = Process(target=get, args=(outside,))
    process.start()
    process.join()


def from_a_python_program(outside: Outside) -> None:
    code = f"import urllib.request as r; r.urlopen({outside.url!r}).read()"
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


def curl(outside: Outside) -> None:
    subprocess.run("command -v nothing-of-this-name; curl -s localhost:1 | cat", shell=True)


def ssh_by_os_system(outside: Outside) -> None:
    os.system("FOO=1 ssh -V 2> /dev/null || true")


def a_process_of_others(outside: Outside) -> None:
    os.kill(outside.sleeper.pid, signal.SIGCONT)


def settings_of_gpus_by_command(outside: Outside) -> None:
    subprocess.run(["nvidia-smi", "-i", "0", "-pl", "200"], check=False)


SEEN: dict[Program, str] = {
    post: "connects to 127.0.0.1:{port}",
    get: "connects to 127.0.0.1:{port}",
    plain_socket: "connects to localhost:{port}",
    datagram: "connects to 127.0.0.1:{port}",
    local_socket: "connects to the local socket {socket}",
    asynchronous: "connects to 127.0.0.1:{port}",
    library_in_c: "has a connection to 127.0.0.1:{port} that no Python code opened",
    from_a_forked_process: "connects to 127.0.0.1:{port}",
    from_a_python_program: "connects to 127.0.0.1:{port}",
    curl: "starts curl",
    ssh_by_os_system: "starts ssh",
    a_process_of_others: "sends signal 18 to process {pid}, which is not its own",
    settings_of_gpus_by_command: "starts nvidia-smi -pl, which changes the settings of GPUs",
}


@pytest.mark.parametrize("program", SEEN, ids=lambda program: program.__name__)
def test_what_acts_on_others_is_seen_and_needs_consent(
    place: Place, outside: Outside, program: Program
) -> None:
    effects = effects_of(place, lambda: program(outside))
    expected = SEEN[program].format(
        port=outside.port, socket=outside.socket, pid=outside.sleeper.pid
    )
    assert [(e.what, e.consent, e.refused) for e in effects] == [(expected, True, False)]
    # A program given as text has no place; the other is found when its caller is gone.
    without = program in (from_a_python_program, library_in_c)
    assert effects[0].place.startswith("test_side_effects.py:") or without


@pytest.mark.parametrize(
    "program", [p for p in SEEN if p is not library_in_c], ids=lambda program: program.__name__
)
def test_a_trial_without_consent_does_not_do_it(
    place: Place, outside: Outside, program: Program
) -> None:
    effects = effects_of(place, lambda: program(outside), trial=True)
    assert effects and all(e.refused for e in effects)
    assert was_refused(place.run)
    assert outside.requests == 0


def test_a_trial_with_consent_does_it(place: Place, outside: Outside) -> None:
    effects = effects_of(place, lambda: post(outside), trial=True, allowed=True)
    assert [e.refused for e in effects] == [False]
    assert outside.requests == 1


def test_databases_and_gpus_by_libraries_in_c(place: Place) -> None:
    (place.root / "psycopg2.py").write_text("def connect(where): return where\n")
    (place.root / "pynvml.py").write_text(
        "def nvmlDeviceGetCount(): return 1\ndef nvmlDeviceSetPowerManagementLimit(*a): pass\n"
    )

    def program() -> None:
        sys.path.insert(0, str(place.root))
        import psycopg2  # type: ignore[import-untyped]
        import pynvml  # type: ignore[import-not-found]

        assert psycopg2.connect("host=db") == "host=db"
        assert pynvml.nvmlDeviceGetCount() == 1
        pynvml.nvmlDeviceSetPowerManagementLimit(0, 200)

    assert [e.what for e in effects_of(place, program)] == [
        "connects to a server by psycopg2.connect",
        "changes the settings of GPUs by pynvml.nvmlDeviceSetPowerManagementLimit",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_kernel_files_are_outside_of_all_containment(place: Place, kind: Kind) -> None:
    setting = "/proc/sys/vm/swappiness"
    if not os.access(setting, os.W_OK):
        pytest.skip("only root may change the kernel's settings")

    def program() -> None:
        value = Path(setting).read_text()
        Path("knob").symlink_to(setting)
        Path("knob").write_text(value)
        Path("/proc/self/comm").write_text("trainer")
        Path("/dev/null").write_text("x")

    what = f"writes {setting}, which lies outside of all containment"
    assert [e.what for e in effects_of(place, program, kind=kind)] == [what]


def test_what_is_mounted_below_run_is_outside_except_where_the_program_works(place: Place) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount something there")

    def inner(cwd: Path) -> list[str]:
        run = cwd / ".sweeper"
        run.mkdir()
        on = contain(run / "scratch", [run], cwd)
        watch_run(run, on, trial=False, allowed=False)
        (cwd / "here").write_text("x")
        Path("/run/user/5/there").write_text("x")
        return [on.kind, *(effect.what for effect in read(run))]

    def body() -> list[list[str]]:
        _namespace.enter_namespace()
        for folder in ("/run", "/run/user/5", "/run/user/6"):  # in this child's own namespace
            os.makedirs(folder, exist_ok=True)
            _namespace.mount("tmpfs", folder, "tmpfs", 0)
        cwd = Path("/run/user/6/project")
        cwd.mkdir()
        found = [in_child(lambda: inner(cwd)), sorted(os.listdir(cwd))]
        return found

    seen, left = in_child(body)
    what = "writes /run/user/5/there, which lies outside of all containment"
    assert seen == ["overlay", what]
    assert left == [".sweeper"]


# -- what is not -----------------------------------------------------------------------------------


def own_server_and_manager() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname()).close()
    with Manager() as manager:
        assert list(manager.list([1])) == [1]
    Process(target=print).start()
    one, two = socket.socketpair()
    one.sendall(b"x")
    assert two.recv(1) == b"x"
    one.close()
    two.close()


def own_processes() -> None:
    process = subprocess.Popen(["sleep", "60"])
    os.kill(process.pid, 0)
    process.terminate()
    process.wait()
    os.kill(os.getpid(), 0)


def ordinary_programs() -> None:
    for command in (["uname"], ["git", "rev-parse", "HEAD"], ["sh", "-c", "echo curl > said"]):
        subprocess.run(command, check=False, capture_output=True)
    subprocess.run([sys.executable, "-c", "open('here', 'w').write('x')"], check=True)
    os.remove("a.txt")
    Path("new.txt").write_text("x")


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        ("overlay", own_server_and_manager),
        ("overlay", own_processes),
        ("overlay", ordinary_programs),
        ("redirect", own_server_and_manager),
        ("redirect", own_processes),  # a shell cannot write there: see the routes
    ],
)
def test_what_is_the_runs_own_needs_nothing(
    place: Place, kind: Kind, program: Callable[[], object]
) -> None:
    assert effects_of(place, program, kind=kind, trial=True) == ()


def test_downloads_are_told_and_allowed(place: Place, outside: Outside) -> None:
    """A library that only reads public data; the same library sending something."""
    module = place.root / "huggingface_hub"
    module.mkdir()
    (module / "__init__.py").write_text("")
    (module / "hf_api.py").write_text(
        "import urllib.request\n"
        "def model_info(url): return urllib.request.urlopen(url).read()\n"
        "def upload_file(url): return urllib.request.urlopen(url, data=b'x').read()\n"
    )

    def program() -> None:
        for name in [n for n in sys.modules if n.partition(".")[0] == "huggingface_hub"]:
            del sys.modules[name]  # the real one, where another test has loaded it
        sys.path.insert(0, str(place.root))
        from huggingface_hub.hf_api import (  # type: ignore[attr-defined]
            model_info,
            upload_file,
        )

        urllib.request.urlretrieve(outside.url, "data.bin")
        model_info(outside.url)
        upload_file(outside.url)

    told = [(e.what.split(" from ")[0], e.consent) for e in effects_of(place, program)]
    assert told == [
        ("downloads by urllib.request.urlretrieve", False),
        ("downloads by huggingface_hub", False),
        (f"connects to 127.0.0.1:{outside.port}", True),
    ]
    refused = [e.refused for e in effects_of(place, program, trial=True)]
    assert refused == [False, False, True]


# -- without overlay and without the kernel --------------------------------------------------------


def test_programs_that_could_overwrite_files_are_refused_in_the_baseline_already(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containment, "forbid_writes", lambda kept: "switched off")

    def program() -> None:
        subprocess.run(["uname"], check=True, capture_output=True)
        subprocess.run([sys.executable, "-c", "open('a.txt', 'w').write('x')"], check=True)
        subprocess.run(["sh", "-c", "rm a.txt"], check=True)

    (effect,) = effects_of(place, program, kind="redirect")
    assert effect.what == "starts rm, whose files nothing here contains"
    assert effect.refused and effect.consent


def test_libraries_that_write_by_themselves_are_named_where_nothing_holds_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.root / "lmdb.py").write_text("")

    def program() -> None:
        sys.path.insert(0, str(place.root))
        __import__("lmdb")

    assert effects_of(place, program, kind="redirect") == ()  # the kernel would refuse
    monkeypatch.setattr(containment, "forbid_writes", lambda kept: "switched off")
    (effect,) = effects_of(place, program, kind="redirect")
    assert effect.what == "imports lmdb, whose files nothing here contains"
    assert effect.consent and not effect.refused


def test_modes_and_times_are_not_left_to_a_kernel_that_only_refuses_writes(place: Place) -> None:
    def program() -> None:
        subprocess.run(["ls"], check=True, capture_output=True)
        subprocess.run("true && chmod 600 a.txt", shell=True, check=True)

    (effect,) = effects_of(place, program, kind="redirect")
    assert effect.what == "starts chmod, whose files nothing here contains"
    assert effect.refused


def test_the_weaker_containment_is_told(place: Place) -> None:
    effects_of(place, lambda: None, kind="redirect")
    (effect,) = read(place.run)
    assert not effect.consent
    assert "Python's file calls are redirected" in effect.text
    assert "no overlay, because the overlay was switched off" in effect.text


# -- words of commands -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("git rev-parse HEAD", ""),
        ("git -C x push origin main", "git push"),
        ("cd x && scp a b:c", "scp"),
        ("echo 'curl'", ""),
        ("A=1 nohup aws s3 cp x s3://y &", "aws"),
        ("timeout -k 5 30 rsync a b", "rsync"),
        ("if true; then wget x; fi", "wget"),
        ("python -m pip install x", "pip install"),
        ("pip freeze | head; conda list; hg -R x root", ""),
        ("uv pip install x", "uv install"),
        ("python train.py --name curl", ""),
        ("nvidia-smi", ""),
        ("nvidia-smi --query-gpu=name --format=csv -i 0 -l 1", ""),
        ("nvidia-smi dmon -c 5", ""),
        ("rocm-smi --showtemp", ""),
        ("rocm-smi --setperflevel high", "rocm-smi --setperflevel, which changes the settings"),
        ("nvidia-smi -pm 1", "nvidia-smi -pm, which changes the settings of GPUs"),
        ("nvidia-smi --gpu-reset -i 0", "nvidia-smi --gpu-reset, which changes the settings"),
        ("echo x > curl", ""),
        ("echo 'open quote; curl x", "curl"),
        ("bash -c 'sh -c \"sudo reboot\"'", "sudo"),
    ],
)
def test_commands_that_act_on_others(script: str, expected: str) -> None:
    found = [name for c in commands(["sh", "-c", script]) if (name := acting(c))]
    assert (found[0] if found else "").startswith(expected)
    assert bool(found) == bool(expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["uname", "-p"], ""),
        (["git", "rev-parse", "HEAD"], ""),
        (["git", "gc"], "git"),
        (["gcc", "--version"], ""),
        (["gcc", "x.c"], "gcc"),
        (["python", "x.py"], ""),
        (["python3", "-u", "-c", "1"], ""),
        (["python", "-Im", "x"], "python"),
        (["sh", "-c", "echo x > a.txt"], "a shell that redirects output"),
        (["sh", "-c", "uname 2> /dev/null >/dev/null 2>&1"], ""),
        (["sh", "-c", "ls | tee a.txt"], "tee"),
    ],
)
def test_commands_that_may_write(words: list[str], expected: str) -> None:
    assert writing(words) == expected


def test_a_torn_line_and_unknown_keys_are_no_obstacle(tmp_path: Path) -> None:
    note(tmp_path, "one")
    with (tmp_path / FILE).open("a") as file:
        file.write('{"what": "two", "later": 1}\n{"what": "thr')
    assert [e.what for e in read(tmp_path)] == ["one", "two"]
    assert read(tmp_path / "nowhere") == ()
