"""A PostgreSQL server of the test's own, on loopback, without root's rights."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "open-sesame-7"


def binaries() -> Path | None:
    """The folder of ``initdb``, which Debian keeps off the PATH; None without PostgreSQL."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return next((p.parent for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)


class Server:
    """One server; ``restart`` keeps its data and its port."""

    def __init__(self, folder: Path, tools: Path) -> None:
        self.folder, self._tools = folder, tools
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 and _exists("postgres") else "nobody"
        self._data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://sweeper:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, self._user)
        self._run("initdb", "-D", self._data, "-U", "sweeper", "-A", "scram-sha-256",
                  "--pwfile", secret, "--no-sync")  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", self.folder / "log", "-o", options,
                  "start")  # fmt: skip

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def _run(self, tool: str, *words: str | Path) -> None:
        command = [str(self._tools / tool), *map(str, words)]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={self._user}", "--clear-groups", *command]
        done = subprocess.run(
            command, cwd=self.folder, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@contextmanager
def server(folder: Path, tools: Path) -> Iterator[Server]:
    """A running server in a folder that an ordinary user may enter."""
    made = Server(folder, tools)
    made.create()
    made.start()
    try:
        yield made
    finally:
        made.stop()


def _exists(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False
