"""The files of its own that a program imports: an edit of one of them makes another program."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

MOST_FILES = 500
"""A program that reaches more files than this is told apart by these alone."""


def local_files(main: Path, roots: tuple[Path, ...]) -> tuple[Path, ...]:
    """Files under ``roots`` that ``main`` imports, directly or not, sorted; without ``main``.

    Read from the source, nothing is imported. What a program imports by computed names is not seen.
    """
    found: set[Path] = set()
    todo = [main]
    while todo and len(found) < MOST_FILES:
        file = todo.pop()
        for imported in _imports(file, roots):
            if imported != main and imported not in found:
                found.add(imported)
                todo.append(imported)
    return tuple(sorted(found))


def _imports(file: Path, roots: tuple[Path, ...]) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name, roots)
        elif isinstance(node, ast.ImportFrom):
            places = (file.parents[node.level - 1],) if node.level else roots
            for alias in node.names:
                yield from _files(".".join(filter(None, (node.module, alias.name))), places)


def _files(dotted: str, places: tuple[Path, ...]) -> Iterator[Path]:
    """The module of a dotted name and the packages around it; the last part may be a name in it."""
    for place in places:
        folder, any_found = place, False
        for part in dotted.split("."):
            for candidate in (folder / f"{part}.py", folder / part / "__init__.py"):
                if candidate.is_file():
                    any_found = True
                    yield candidate.resolve()
            folder = folder / part
        if any_found:
            return
