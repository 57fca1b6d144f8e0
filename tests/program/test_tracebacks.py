"""What a program's own error looks like: as Python alone tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.program.tracebacks import PACKAGE, traceback_text
from sweeper.units import seconds
from tests.conftest import PROGRAMS, Runner


def test_a_crash_reads_as_without_us(run: Runner) -> None:
    alone = subprocess.run(
        [sys.executable, str(PROGRAMS / "crash.py")], capture_output=True, text=True, check=False
    )
    assert run("crash").outcome.traceback == alone.stderr


def test_causes_and_groups_are_told_without_our_frames(run: Runner, tmp_path: Path) -> None:
    path = tmp_path / "several.py"
    path.write_text(
        "import torch\n"
        "def fail(n):\n"
        "    torch.nn.functional.cross_entropy(torch.zeros(2, 3), torch.tensor([n, n]))\n"
        "errors = []\n"
        "for n in (7, 8):\n"
        "    try:\n"
        "        fail(n)\n"
        "    except IndexError as error:\n"
        "        errors.append(error)\n"
        "raise ExceptionGroup('both', errors) from errors[0]\n"
    )
    told = run(path, fresh=True).outcome.traceback
    assert str(PACKAGE) not in told
    assert told.count("several.py") == 7
    assert "Target 7 is out of bounds" in told and "Target 8 is out of bounds" in told
    assert "direct cause" in told


def test_an_error_that_began_in_our_code_says_where() -> None:
    with pytest.raises(ValueError) as caught:
        seconds("soon")
    told = traceback_text(caught.value)
    assert str(PACKAGE / "units.py") in told
    assert "test_tracebacks.py" in told
