"""What a run does that no file containment holds or undoes: it is seen, named, and in trials
refused unless the user allows it.

Seen are Python's own calls, by audit events (`sys.addaudithook`), in the program, in what it forks
and in the Python programs that it starts; and calls of a few clients written in C
(`sweeper.program._outside_clients`). What is looked for, and why it needs consent or does not, is
in `_outside_network`, `_outside_programs` and `_outside_files`. Everything is kept in the run
folder, one JSON object per line, as it happens: a run that is killed has said what it did.
"""

from __future__ import annotations

import json
import os
import site
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from sweeper.program import _spawned

if TYPE_CHECKING:
    from sweeper.program.containment import Containment

FILE = "side_effects.jsonl"
_SETTINGS = ("path", "trial", "allowed", "other_code", "since")
VARIABLE = "SWEEPER_WATCH"  # as in `_spawned.INSTALLERS`
"""Names the arguments of `Watch` as JSON, for Python programs that the program starts."""


@dataclass(frozen=True, kw_only=True)
class SideEffect:
    """One thing that a run did outside of its own files."""

    what: str
    """In words that follow "the program": ``connects to host:443``."""
    place: str = ""
    """``file:line`` of the program's own code, where there is some."""
    consent: bool = True
    """Trials may repeat it only with the user's consent; False is worth telling only."""
    refused: bool = False
    """It was kept from happening."""

    @property
    def text(self) -> str:
        return f"{self.what} ({self.place})" if self.place else self.what


def read(folder: Path) -> tuple[SideEffect, ...]:
    """What a run did, in order, each once. A torn last line is left out."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    known = {item.name for item in fields(SideEffect)}
    found: dict[tuple[str, bool], SideEffect] = {}
    for line in lines:
        try:
            data = json.loads(line)
        except ValueError:
            continue
        effect = SideEffect(**{k: v for k, v in data.items() if k in known})
        found.setdefault((effect.what, effect.refused), effect)
    return tuple(found.values())


def was_refused(folder: Path) -> bool:
    """Whether the run was kept from something, so that with consent it may end otherwise."""
    return any(effect.refused for effect in read(folder))


def note(folder: Path, what: str) -> None:
    """Add something about a run that is worth telling."""
    _append(folder / FILE, SideEffect(what=what, consent=False))


def _append(path: Path | str, effect: SideEffect) -> None:
    line = json.dumps(asdict(effect)) + "\n"
    # Opened each time: a program that closes all descriptors may give ours to a file of its own.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


class Refused(PermissionError):
    """Raised at a call that needs consent where there is none; the program may catch it as it
    would any failure of that call."""


class Watch:
    """The watch over one process; forked children inherit it.

    Args:
        path: the file that takes what is seen.
        trial: a run that the user did not ask for by itself: what needs consent is refused.
        allowed: the user has consented.
        other_code: what becomes of files that other programs write: ``contained`` by the overlay,
            ``stopped`` by the kernel, or ``free``.
        since: `time.time()` of the run's start: a socket's file that is younger is the run's own.
    """

    def __init__(
        self,
        path: str,
        *,
        trial: bool,
        allowed: bool,
        other_code: str,
        since: float,
    ) -> None:
        self.path, self.trial, self.allowed, self.since = path, trial, allowed, since
        self.other_code = other_code
        self._told: set[str] = set()
        self._busy = threading.local()
        self._handlers: dict[str, Callable[..., None]] = {}
        self._at_end: list[Callable[[], None]] = []

    def install(self) -> None:
        """For the rest of this process: audit hooks cannot be taken back."""
        from sweeper.program import _outside_clients, _outside_files, _outside_network
        from sweeper.program._outside_programs import Programs

        network, files = _outside_network.Network(self), _outside_files.Files(self)
        for part in (network, files, Programs(self)):
            self._handlers.update(part.handlers())
        self._at_end += [network.ended, files.ended]
        _outside_clients.install(self)
        handlers, busy = self._handlers, self._busy

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            handler = handlers.get(event)
            if handler is None or getattr(busy, "on", False):
                return
            busy.on = True  # what the handler does itself raises events as well
            try:
                handler(*arguments)
            finally:
                busy.on = False

        sys.addaudithook(hook)

    def ended(self) -> None:
        """The program has ended: look at what it leaves open."""
        for look in self._at_end:
            look()

    def seen(
        self, what: str, *, consent: bool = True, always: bool = False, happened: bool = False
    ) -> None:
        """Record it; raises `Refused` where it needs a consent that is not there, unless it has
        `happened` already: in trials, and with `always` in a baseline too."""
        refused = consent and not self.allowed and not happened and (self.trial or always)
        if what not in self._told:
            self._told.add(what)
            place = _place()
            _append(self.path, SideEffect(what=what, place=place, consent=consent, refused=refused))
        if refused:
            raise Refused(1, f"sweeper refuses this without --allow-side-effects: {what}")


def watch_run(folder: Path, on: Containment, *, trial: bool, allowed: bool) -> Watch:
    """Watch this process, which `on` contains, and all that it starts, for good. `folder` is the
    run's; its ``scratch`` is in use. Call ``ended`` of what is returned at the program's end."""
    watch = Watch(
        str(folder.resolve() / FILE),
        trial=trial,
        allowed=allowed,
        other_code=on.other_code,
        since=time.time(),
    )
    if on.reason:
        note(folder, f"{on.description}; no overlay, because {on.reason}")
    if on.kind != "redirect":  # which has done so already
        site_folder = _spawned.make_site(str(folder.resolve() / "scratch"))
        os.environ["PYTHONPATH"] = _spawned.python_path(site_folder, os.environ)
    os.environ[VARIABLE] = json.dumps({name: getattr(watch, name) for name in _SETTINGS})
    watch.install()
    return watch


def install_from_environment() -> None:
    """In a Python program that a watched one has started."""
    Watch(**json.loads(os.environ[VARIABLE])).install()


def frames() -> Iterator[FrameType]:
    """The calls that led here, innermost first, without our own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not str(frame.f_globals.get("__name__", "")).startswith("sweeper."):
            yield frame
        frame = frame.f_back


_LIBRARIES = tuple(
    {
        os.path.realpath(path) + os.sep
        for path in (
            *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            *site.getsitepackages(),
        )
    }
)


def _place() -> str:
    """Where in the program's own code: the innermost frame outside of every library."""
    for frame in frames():
        name = frame.f_code.co_filename
        if not name.startswith("<") and not os.path.realpath(name).startswith(_LIBRARIES):
            return f"{os.path.basename(name)}:{frame.f_lineno}"
    return ""
