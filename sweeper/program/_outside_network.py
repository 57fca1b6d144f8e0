"""The network as a side effect: connections and datagrams that leave the run.

A connection needs consent, whoever makes it: a server may count, store or bill what it is sent, and
60 trials are not one run. Not so what is the run's own (a socket that it bound itself, a Unix
socket made since it started), and downloads by libraries that only read public data and weights:
those are told, because every trial makes them again, but change nothing anywhere.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.program.side_effects import frames

if TYPE_CHECKING:
    from sweeper.program.side_effects import Watch

_DOWNLOADERS = (
    *("huggingface_hub", "datasets", "torch.hub", "torchvision.datasets", "torchaudio.datasets"),
    *("torchtext", "sklearn.datasets", "pandas.io.common", "kagglehub", "openml", "nltk"),
    *("pooch", "gdown", "medmnist", "tensorflow_datasets", "torch_geometric.data.download"),
)
"""Modules, with what is below them, that fetch and do not send."""
_SENDING = ("upload", "push", "create", "delete", "commit", "update", "move", "duplicate", "report")
"""Beginnings of the names of functions, in those modules, that change something on the server."""
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0", "::ffff:127.")


class Network:
    """Handlers of the events of `socket`."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.names: dict[object, str] = {}  # port -> the host last looked up for it
        self.bound: list[weakref.ref[socket.socket]] = []
        self.reached: set[tuple[str, int]] = set()  # addresses

    def handlers(self) -> dict[str, Callable[..., None]]:
        return {
            "socket.getaddrinfo": self._lookup,
            "socket.bind": self._bind,
            "socket.connect": self._connect,
            "socket.sendto": self._connect,
            "socket.sendmsg": self._connect,
            "syslog.syslog": lambda *_: self.watch.seen("writes to the system log"),
        }

    def _lookup(self, host: Any, port: Any, *_: Any) -> None:
        if host:
            self.names[port] = os.fsdecode(host)

    def _bind(self, bound: socket.socket, address: Any) -> None:
        self.bound.append(weakref.ref(bound))

    def _connect(self, used: socket.socket, address: Any) -> None:
        if address is None:  # sendmsg on a socket that is connected already
            return
        if used.family in (socket.AF_INET, socket.AF_INET6):
            self._internet(str(address[0]), address[1])
        elif used.family == getattr(socket, "AF_UNIX", None):
            self._unix(os.fsdecode(address))
        elif used.family != getattr(socket, "AF_NETLINK", None):  # netlink asks the kernel
            self.watch.seen(f"connects to {address!r} by {used.family!r}")

    def _internet(self, host: str, port: int) -> None:
        self.reached.add((host, port))
        if host.startswith(_LOOPBACK) and port in self._own_ports():
            return
        name = self.names.get(port) or self.names.get(str(port)) or host
        target = f"{name}:{port}"
        library = _downloader()
        if library:
            what = f"downloads by {library} from {target}, in every run again"
            self.watch.seen(what, consent=False)
        else:
            self.watch.seen(f"connects to {target}")

    def ended(self) -> None:
        """At the end of the run: connections that are open although no call of Python's made them,
        by a library in another language. Shorter ones are not seen."""
        for address, port in _open_connections() - self.reached:
            what = f"has a connection to {address}:{port} that no Python code opened"
            self.watch.seen(what, happened=True)

    def _unix(self, path: str) -> None:
        if path.startswith("\0"):
            if path not in self._own_names():
                self.watch.seen(f"connects to the local socket @{path[1:]}")
            return
        try:
            own = os.stat(path).st_ctime >= self.watch.since
        except OSError:
            return  # nothing listens there
        if not own:
            self.watch.seen(f"connects to the local socket {os.path.abspath(path)}")

    def _own_ports(self) -> set[int]:
        return {address[1] for address in self._own_addresses() if isinstance(address, tuple)}

    def _own_names(self) -> set[str]:
        return {os.fsdecode(a) for a in self._own_addresses() if isinstance(a, (str, bytes))}

    def _own_addresses(self) -> list[Any]:
        found = []
        for reference in self.bound:
            bound = reference()
            try:
                if bound is not None:
                    found.append(bound.getsockname())
            except OSError:
                continue  # closed
        return found


_LISTENING, _CONNECTED = "0A", ("01", "02", "04", "05", "08")  # linux/tcp_states.h


def _open_connections() -> set[tuple[str, int]]:
    """Peers of this process's TCP connections, except those to itself and from others. From
    /proc/self/net (proc(5)); nothing where there is none."""
    mine, found, listening = set(), [], set()
    try:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                mine.add(os.readlink(f"/proc/self/fd/{name}"))
        lines = [
            line.split()
            for name in ("tcp", "tcp6")
            for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]
        ]
    except OSError:
        return set()
    for _, local, remote, state, *rest in lines:
        if f"socket:[{rest[5]}]" not in mine:
            continue
        port = int(local.rpartition(":")[2], 16)
        if state == _LISTENING:
            listening.add(port)
        elif state in _CONNECTED:
            address, _, peer = remote.rpartition(":")
            found.append((_address(address), int(peer, 16), port))
    return {(a, peer) for a, peer, port in found if not {peer, port} & listening}


def _address(text: str) -> str:
    """``0100007F`` -> ``127.0.0.1``: words of 32 bits in the machine's own order."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _downloader() -> str:
    """The library that only fetches and on whose behalf a connection is made, or ""."""
    library = ""
    for frame in frames():
        module = str(frame.f_globals.get("__name__", ""))
        function = frame.f_code.co_name
        if module == "urllib.request" and function == "urlretrieve":
            library = library or "urllib.request.urlretrieve"
        for known in _DOWNLOADERS:
            if module == known or module.startswith(known + "."):
                if function.lstrip("_").startswith(_SENDING):
                    return ""
                library = library or known
    return library
