"""The table of routes, and how a route checks what it did."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Route = Callable[[Path], object]
PYTHON: dict[str, Route] = {}
NATIVE: dict[str, Route] = {}
NEW = b"new"


def python(route: Route) -> Route:
    PYTHON[route.__name__] = route
    return route


def native(route: Route) -> Route:
    NATIVE[route.__name__] = route
    return route


def holds(path: Any, content: bytes | str) -> None:
    """`path` reads as `content` for everybody in this run: by `open` and by its descriptor."""
    expected = content.encode() if isinstance(content, str) else content
    with open(path, "rb") as file:
        assert file.read() == expected
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(descriptor, 1 << 20, 0) == expected
    finally:
        os.close(descriptor)
    assert os.path.getsize(path) == len(expected)


def descriptor_of(path: Any, flags: int, **options: Any) -> Any:
    """A descriptor that is closed at the end of a `with` block."""

    class Closing:
        def __enter__(self) -> int:
            self.fd = os.open(path, flags, **options)
            return self.fd

        def __exit__(self, *_: object) -> None:
            os.close(self.fd)

    return Closing()
