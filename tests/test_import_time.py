"""What a command that only prints help must not pay for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "optuna", "pandas", "joblib", "sklearn", "scipy", "transformers", "rich", "numpy"}


@pytest.mark.parametrize("module", ["sweeper", "sweeper.types", "sweeper.cli"])
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "sweeper" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["fix", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys, atexit\n"
        "tops = lambda: sorted({name.partition('.')[0] for name in sys.modules})\n"
        "atexit.register(lambda: print('LOADED', *tops()))\n"
        f"from sweeper.cli import main\nsys.exit(main({words!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED ")[2].split())
    assert "argparse" in loaded
    assert not loaded & HEAVY


def test_the_driver_needs_no_torch() -> None:
    """It never touches a tensor: a thread pool or a device opened here would spoil the forks."""
    code = (
        "import sys\n"
        "import sweeper.remediate, sweeper.report.files, sweeper.report.terminal\n"
        "from sweeper.detectors import all_detectors\n"
        "from sweeper.diagnosis import all_causes\n"
        "from sweeper.remedies import all_remedies\n"
        "assert all_detectors() and all_causes() and all_remedies()\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
