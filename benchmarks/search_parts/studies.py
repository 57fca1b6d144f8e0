"""Results of finished studies, kept beside the runs for as long as nothing that decides them
changes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOMS = ("detectors", "diagnosis", "remedies", "search", "verification")
BUDGET = 40
"""Runs' worth of training steps of one study."""


def version() -> str:
    """Hash of the source that decides what is tried and what counts as restored."""
    digest = hashlib.sha256()
    places = [HERE, *(HERE.parents[1] / "sweeper" / room for room in ROOMS)]
    for path in sorted(p for place in places for p in place.glob("*.py")):
        if path.name != "page.py":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Studies:
    """(case, method, study seed) -> what came of it, under one version and budget."""

    def __init__(self, cache: Path, budget: int) -> None:
        self._path = cache / "studies.json"
        self._known = self._read()
        self._stem = f"{version()} {budget}"

    def get(self, case: str, method: str, seed: int) -> Mapping[str, Any] | None:
        return self._known.get(self._key(case, method, seed))

    def put(self, case: str, method: str, seed: int, result: Mapping[str, Any]) -> None:
        # A command at work on other cases may have added its own.
        self._known = self._read() | {self._key(case, method, seed): result}
        aside = self._path.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(self._known), encoding="utf-8")
        os.replace(aside, self._path)

    def _read(self) -> dict[str, Any]:
        if not self._path.is_file():
            return {}
        known: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        return known

    def _key(self, case: str, method: str, seed: int) -> str:
        return f"{self._stem} {case}|{method}|{seed}"
