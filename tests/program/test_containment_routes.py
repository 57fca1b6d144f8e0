"""Every route by which a program can change a file, under every containment: the user's folder
stays as it was, byte for byte, with modes, owners and times, and the program sees its own
changes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.program import _landlock, containment
from sweeper.program.containment import clear
from tests.program.contained import KINDS, Kind, Place
from tests.program.routes import NATIVE, PYTHON, Route

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="a b,c:d-") as name:
        place = Place(Path(name).resolve() / "home", None)
        yield place
        clear(place.run / "scratch")


@pytest.mark.parametrize("route", PYTHON.values(), ids=PYTHON.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_pythons_own_calls_stay_in_the_run(
    place: Place, kind: Kind, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The redirection by itself: with the kernel behind it, what it misses would only fail."""
    monkeypatch.setattr(containment, "forbid_writes", lambda kept: "switched off")
    place.contained(kind, route)


@pytest.mark.parametrize("route", NATIVE.values(), ids=NATIVE.keys())
def test_other_code_stays_in_the_run_by_the_overlay(place: Place, route: Route) -> None:
    place.contained("overlay", route)


@pytest.mark.parametrize("route", NATIVE.values(), ids=NATIVE.keys())
def test_other_code_is_refused_behind_the_redirection(place: Place, route: Route) -> None:
    def attempt(root: Path) -> bool:
        try:
            route(root)
        except BaseException:
            return True
        return False

    if _landlock.unavailable():
        pytest.skip(_landlock.unavailable())
    assert place.contained("redirect", attempt), "it wrote somewhere after all"
