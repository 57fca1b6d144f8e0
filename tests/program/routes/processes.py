"""Other threads and processes, and code with file calls of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from tests.program.routes.base import NEW, holds, native, python

# -- other threads and processes of this program ---


@python
def threads(root: Path) -> None:
    def work(name: str) -> None:
        Path(name).write_bytes(NEW)

    started = [threading.Thread(target=work, args=(f"{name}.txt",)) for name in "abc"]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    for name in "abc":
        holds(f"{name}.txt", NEW)


@python
def forked_processes(root: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=os.remove, args=("b.txt",))
    process.start()
    process.join()
    child = os.fork()
    if child == 0:
        Path("a.txt").write_bytes(NEW)
        os._exit(0)
    os.waitpid(child, 0)
    holds("a.txt", NEW)
    assert process.exitcode == 0 and not os.path.exists("b.txt")


class Files(Dataset[int]):
    """Reads what the program wrote and writes a file of its own, in the workers."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        Path(f"sub/{index}").write_bytes(NEW)
        Path("b.txt").write_bytes(NEW)
        return len(Path("a.txt").read_text())


@python
def loader_workers(root: Path) -> None:
    Path("a.txt").write_text("mine")
    loader = DataLoader(Files(), batch_size=2, num_workers=1)
    assert [batch.tolist() for batch in loader] == [[4, 4], [4, 4]]
    assert {"0", "1", "2", "3"} <= set(os.listdir("sub"))
    holds("b.txt", NEW)


@python
def python_programs(root: Path) -> None:
    code = "import os; open('a.txt', 'w').write('new'); os.remove('b.txt')"
    subprocess.run([sys.executable, "-c", code], check=True)
    holds("a.txt", NEW)
    assert not os.path.exists("b.txt")
    Path("sub/step.py").write_text("open('x.txt', 'w').write('new')")
    subprocess.run([sys.executable, "step.py"], check=True, cwd="sub", env={"PATH": "/bin"})
    holds("sub/x.txt", NEW)


@python
def spawned_processes(root: Path) -> None:
    """Workers that are started anew, as everywhere but on Linux."""
    Path("main.py").write_text(
        "import multiprocessing, os\n"
        "def work(name):\n"
        "    open(name, 'w').write('new')\n"
        "    os.remove('b.txt')\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work, args=('a.txt',))\n"
        "    process.start()\n"
        "    process.join()\n"
        "    assert open('a.txt').read() == 'new' and not os.path.exists('b.txt')\n"
    )
    subprocess.run([sys.executable, "main.py"], check=True)
    holds("a.txt", NEW)
    assert not os.path.exists("b.txt")


# -- programs and libraries with file calls of their own ---


@native
def shell_by_subprocess(root: Path) -> None:
    script = "echo new > a.txt; rm b.txt; mv c.txt d.txt; mkdir made; rm -r sub; touch model.pt"
    subprocess.run(["sh", "-e", "-c", script], check=True, stderr=subprocess.DEVNULL)
    holds("a.txt", "new\n")
    assert {"d.txt", "made"} <= set(os.listdir())
    assert not {"b.txt", "c.txt", "sub"} & set(os.listdir())


@native
def shell_by_os_system(root: Path) -> None:
    assert os.system("exec 2> /dev/null; printf new > a.txt && rm b.txt") == 0
    holds("a.txt", NEW)
    assert not os.path.exists("b.txt")


@native
def shell_by_posix_spawn(root: Path) -> None:
    shell = "/bin/sh"
    silent = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(
        shell, [shell, "-c", "printf new > a.txt"], os.environ, file_actions=silent
    )
    assert os.waitpid(child, 0)[1] == 0
    holds("a.txt", NEW)


@native
def shell_by_fork_and_exec(root: Path) -> None:
    child = os.fork()
    if child == 0:
        os.execv("/bin/sh", ["/bin/sh", "-c", "exec 2> /dev/null; printf new > a.txt"])
    assert os.waitpid(child, 0)[1] == 0
    holds("a.txt", NEW)


@native
def isolated_python_program(root: Path) -> None:
    code = "open('a.txt', 'w').write('new')"
    command = [sys.executable, "-I", "-S", "-c", code]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    holds("a.txt", NEW)


@native
def c_library(root: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.open(b"a.txt", os.O_WRONLY | os.O_TRUNC)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    libc.write(fd, NEW, 3)
    libc.close(fd)
    assert libc.unlink(b"b.txt") == 0 and libc.rename(b"c.txt", b"d.txt") == 0
    holds("a.txt", NEW)
    assert not os.path.exists("b.txt") and os.path.exists("d.txt")


@native
def attached_database(root: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as connection, connection:
        connection.execute("attach database 'data.db' as theirs")
        connection.execute("insert into theirs.t values (1)")
        connection.commit()
        connection.execute("vacuum theirs into 'vacuumed.db'")
    with closing(sqlite3.connect("vacuumed.db")) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (1,)


@native
def signals_to_a_shell(root: Path) -> None:
    """A program that writes when it is ended."""
    script = "trap 'printf new > a.txt; exit 0' TERM; while :; do sleep 0.01; done"
    process = subprocess.Popen(["sh", "-c", script], stderr=subprocess.DEVNULL)

    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    holds("a.txt", NEW)
