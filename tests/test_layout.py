"""The order of the rooms, held by reading every import statement of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweeper

PACKAGE = Path(sweeper.__file__).resolve().parent
ROOMS = (
    "program",
    "telemetry",
    "detectors",
    "diagnosis",
    "remedies",
    "faults",
    "search",
    "execution",
    "verification",
    "report",
)
OWNED = {
    "optuna": "search",
    "joblib": "execution",
    "pandas": "report",
    "matplotlib": "report",
    "jinja2": "report",
}
"""Package -> the only room that names it."""
UNITS = ("detectors", "diagnosis", "remedies", "faults")
FILES = sorted(p for p in PACKAGE.rglob("*.py") if "_data" not in p.parts)


def room_of(path: Path) -> str:
    """Room of a file, or the empty string for the files above the rooms."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, also inside functions and under TYPE_CHECKING."""
    package = ["sweeper", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_the_rooms_are_there() -> None:
    assert FILES
    assert {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()} == set(ROOMS)


def test_a_room_imports_only_from_rooms_to_its_left() -> None:
    wrong = []
    for path in FILES:
        room = room_of(path)
        allowed = ROOMS[: ROOMS.index(room) + 1] if room else ROOMS
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] != "sweeper" or len(parts) == 1:
                continue
            to_the_right = parts[1] in ROOMS and parts[1] not in allowed
            above = bool(room) and parts[1] not in (*ROOMS, "types", "__version__")
            if to_the_right or above:
                wrong.append(f"{relative(path)}:{line} imports {name}")
    assert not wrong


def test_each_engine_is_named_in_one_room() -> None:
    wrong = [
        f"{relative(path)}:{line} imports {name}"
        for path in FILES
        for line, name in imports(path)
        if room_of(path) != OWNED.get(name.partition(".")[0], room_of(path))
    ]
    assert not wrong


def test_units_never_import_each_other() -> None:
    units = {
        f"sweeper.{room_of(p)}.{p.stem}": p for p in FILES if room_of(p) in UNITS and is_unit(p)
    }
    assert len(units) > 40
    wrong = [
        f"{relative(path)}:{line} imports {name}"
        for own, path in units.items()
        for line, name in imports(path)
        if any(name == unit or name.startswith(f"{unit}.") for unit in units if unit != own)
    ]
    assert not wrong


def test_the_reader_of_imports_sees_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above are worth what this walk finds."""
    monkeypatch.setattr("tests.test_layout.PACKAGE", tmp_path)
    path = tmp_path / "detectors" / "unit.py"
    path.parent.mkdir()
    path.write_text(
        "import a.b as c, d\nfrom e import f\nfrom . import g\nfrom ..report import h\n"
        "if TYPE_CHECKING:\n    from sweeper.report import tables\n"
        "def late():\n    import optuna\n"
    )
    assert {name for _, name in imports(path)} == {
        "a.b",
        "d",
        "e.f",
        "sweeper.detectors.g",
        "sweeper.report.h",
        "sweeper.report.tables",
        "optuna",
    }


def is_unit(path: Path) -> bool:
    """The file has the constant by which the package walk finds a unit."""
    constants = {"DETECTOR", "CAUSE", "REMEDY", "FAULT"}
    return any(
        isinstance(node, (ast.Assign, ast.AnnAssign))
        and any(isinstance(n, ast.Name) and n.id in constants for n in ast.walk(node))
        for node in ast.parse(path.read_bytes()).body
    )
