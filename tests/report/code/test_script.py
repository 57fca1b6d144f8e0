"""Texts of every kind: what is changed is what was meant, and `patch` takes the diff."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.report.code import as_code, change_lines
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import Fix
from tests.report.code.sources import SCRIPT, change, facts

FIX = Fix(changes={"learning_rate": 0.5, "zero_grad": True})


def patched(tmp_path: Path, source: bytes) -> bytes:
    """The source after `patch` was given what `sweeper show` prints."""
    made = as_code(FIX, facts(), source, "train.py")
    assert made.placed == ("learning_rate", "zero_grad")
    path = tmp_path / "train.py"
    path.write_bytes(source)
    text = "# a comment before\n" + "\n".join(change_lines(made)) + "\n"
    done = subprocess.run(
        ["patch", "-p0", "--binary"], cwd=tmp_path, input=text.encode(), capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return path.read_bytes()


@pytest.mark.parametrize(
    "source",
    [
        SCRIPT.encode(),
        SCRIPT.removesuffix("\n").encode(),
        SCRIPT.replace("\n", "\r\n").encode(),
        SCRIPT.replace("    ", "\t").encode(),
        b"\xef\xbb\xbf" + SCRIPT.encode(),
        SCRIPT.replace("import torch\n", "import torch  # \u00e4\u4e2d\U0001f600\n\x0c\n").encode(),
        SCRIPT.replace("model =", "'\u4e2d\u6587'; model =").encode(),
    ],
    ids=["plain", "no-newline-at-end", "crlf", "tabs", "bom", "form-feed", "wide-letters"],
)
def test_patch_takes_the_diff_of_every_kind_of_text(tmp_path: Path, source: bytes) -> None:
    result = patched(tmp_path, source)
    expected = source.replace(b"lr=0.1)", b"lr=0.5)")
    end = b"\r\n" if b"\r\n" in source else b"\n"
    indent = b"\t" if b"\t" in source else b"    "
    step = indent + b"optimizer.step()"
    tail = end if source.endswith(end) else b""
    expected = expected.replace(step + tail, step + end + indent + b"optimizer.zero_grad()" + end)
    assert result == expected


def test_other_encodings_are_read_by_their_own_line() -> None:
    source = ("# -*- coding: latin-1 -*-\nname = '\u00e9'\n" + SCRIPT).encode("latin-1")
    assert "name = '\u00e9'" in as_code(FIX, facts(), source, "train.py").text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (b"\xff\xfe\x00", "cannot be read"),
        (b"def broken(:\n", "not valid Python"),
        (b"x = 1\ry = 2\r", "line ends"),
        (b"# coding: no-such-code\n", "cannot be read"),
        (b"", "no place in the file"),
    ],
)
def test_what_cannot_be_read_is_advice(source: bytes, says: str) -> None:
    made = as_code(FIX, facts(), source, "train.py")
    assert made.diff == ""
    assert len(made.instructions) == 2
    assert says in made.instructions[0].reason


def test_without_facts_everything_is_advice() -> None:
    made = as_code(FIX, None, SCRIPT.encode(), "train.py")
    assert made.diff == ""
    assert "nothing is known" in made.instructions[0].reason


def test_a_part_without_a_place_leaves_the_others() -> None:
    made = change({"learning_rate": 0.5, "standardise_inputs": True})
    assert made.placed == ("learning_rate",)
    text = "\n".join(change_lines(made))
    assert "+optimizer" in text
    assert "# By hand: standardise_inputs" in text
    assert "#     mean, std = X_train.mean(0), X_train.std(0)" in text


def test_parentheses_and_generators_that_would_break_are_refused() -> None:
    odd = SCRIPT.replace("model.parameters(), lr=0.1", "p for p in model.parameters()")
    made = change({"learning_rate": 0.5}, odd)
    assert made.diff == ""
    assert "safely" in made.instructions[0].reason


def test_a_fix_that_the_code_holds_already_gives_no_diff() -> None:
    made = change({"learning_rate": 0.1})
    assert made.diff == ""
    assert made.placed == ("learning_rate",)


def test_pieces_that_overlap_are_refused() -> None:
    with pytest.raises(Unsure, match="two changes meet"):
        Script("abc = 1\n").with_pieces([Piece(0, 3, "x"), Piece(2, 4, "y")])


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=40))
def test_spans_are_those_of_the_text(comment: str) -> None:
    """Whatever stands before it, a node is cut out exactly."""
    text = f"name = {comment!r}; value = f(1, 'x')\n"
    script = Script(text)
    (call,) = [n for n in ast.walk(script.tree) if isinstance(n, ast.Call)]
    assert script.source(call) == "f(1, 'x')"
    assert script.with_pieces([script.replaced(call, "0")]) == text.replace("f(1, 'x')", "0")
