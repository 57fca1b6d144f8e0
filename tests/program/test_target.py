"""PROGRAM on the command line: what it names, and which files make it up."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.program.target import parse_program
from sweeper.types import UsageError
from tests.program.style_matrix import PROGRAMS


@pytest.mark.parametrize(
    ("signature", "needed"),
    [("data, epochs=3", "data"), ("*, rate", "rate"), ("a, /, b, *, c=1, d", "a, b, d")],
)
def test_a_function_must_need_no_arguments(tmp_path: Path, signature: str, needed: str) -> None:
    (tmp_path / "train.py").write_text(f"def fit({signature}):\n    pass\n")
    with pytest.raises(UsageError, match=f"which needs {needed}$"):
        parse_program(["train.py:fit"], tmp_path)


def test_a_function_with_defaults_is_a_program() -> None:
    program = parse_program(["function_target.py:fit"], PROGRAMS)
    assert (program.kind, program.target) == ("function", "fit")


def test_files_that_a_module_imports_belong_to_it() -> None:
    program = parse_program(["-m", "package_train.train"], PROGRAMS)
    names = {str(file.relative_to(PROGRAMS)) for file in program.files}
    assert names == {
        "package_train/data/__init__.py", "package_train/data/digits.py", "package_train/model.py"
    }  # fmt: skip


def test_an_edit_of_an_imported_file_makes_another_program(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import os, parts.net\nfrom parts import data\n")
    (tmp_path / "parts").mkdir()
    for name in ("__init__", "net", "data", "unused"):
        (tmp_path / "parts" / f"{name}.py").write_text(f"from . import net\nNAME = {name!r}\n")

    def identity() -> str:
        return parse_program(["train.py"], tmp_path).identity

    first = identity()
    (tmp_path / "parts" / "unused.py").write_text("")
    assert identity() == first
    (tmp_path / "parts" / "data.py").write_text("NAME = 'other'\n")
    assert identity() != first


def test_a_file_of_its_own_that_is_no_python_is_left_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import broken\n")
    (tmp_path / "broken.py").write_text("def (")
    assert parse_program(["train.py"], tmp_path).files == (tmp_path / "broken.py",)
