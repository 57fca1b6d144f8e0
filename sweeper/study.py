"""The study folder: what it belongs to, what it was asked, and where its parts lie."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper import __version__
from sweeper.types import Program, UsageError, jsonable

FILE = "study.json"
SCHEMA = 1


def default_folder(program: Program) -> Path:
    """``.sweeper/<name>-<hash>`` under the working directory."""
    return program.cwd / ".sweeper" / f"{program.name}-{program.identity}"


def open_folder(folder: Path, program: Program, settings: Mapping[str, Any]) -> bool:
    """Make or reopen a study folder; True when it held a study of this program already.

    Args:
        settings: what would make old and new trials incomparable (space, steps, seed).

    Raises:
        UsageError: not writable, not a study, another program's, a newer version's,
            or other settings.
    """
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--study must be a folder that can be written, got {folder}: {error.strerror}"
        ) from None
    if not os.access(folder, os.W_OK):
        raise UsageError(
            f"--study must be a folder that can be written, got {folder}: no permission"
        )
    path = folder / FILE
    if not path.exists():
        _write(path, program, settings)
        return False
    try:
        known = json.loads(path.read_text())
        identity, schema = known["identity"], int(known["schema"])
        before = dict(known["settings"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"--study must be a folder of sweeper, got a damaged {path}") from None
    if schema > SCHEMA:
        raise UsageError(
            f"{path} must have schema <= {SCHEMA}, got {schema}: written by a newer sweeper"
        )
    if identity != program.identity:
        raise UsageError(
            f"--study must belong to this program, got {folder}: it was made for "
            f"{known.get('program')} ({identity}), this is {program.name} ({program.identity}); "
            f"the source, its arguments or the target differ. Name another folder"
        )
    asked = jsonable(dict(settings))
    changed = [
        f"{key}: {before[key]!r} then, {value!r} now"
        for key, value in asked.items()
        if key in before and before[key] != value
    ]
    if changed:
        raise UsageError(
            f"a study is continued with the settings it began with, got others in {folder}: "
            + "; ".join(changed)
            + ". Name another folder"
        )
    if set(asked) - set(before):  # a check was here before the first fix
        _write(path, program, {**before, **asked})
    return True


def _write(path: Path, program: Program, settings: Mapping[str, Any]) -> None:
    data = {
        "schema": SCHEMA,
        "sweeper": __version__,
        "program": program.name,
        "source": str(program.path),
        "identity": program.identity,
        "settings": dict(settings),
    }
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(jsonable(data), indent=1))
    os.replace(aside, path)
