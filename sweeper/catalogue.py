"""What is there: units and shipped files, for `sweeper list` and `sweeper copy`."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

from sweeper.search.space import known_spaces, nearest
from sweeper.types import UsageError

_PACKAGE = Path(__file__).resolve().parent
_EXPERIMENTS = (_PACKAGE.parent / "experiments", _PACKAGE / "_data" / "experiments")


def known_experiments() -> dict[str, Path]:
    """Name -> folder of every shipped experiment."""
    found: dict[str, Path] = {}
    for folder in _EXPERIMENTS:
        for path in sorted(folder.glob("*/train.py")):
            found.setdefault(path.parent.name, path.parent)
    return found


def lines(what: str) -> Iterator[str]:
    """One line or more per unit: name, what it is, source."""
    if what == "remedies":
        from sweeper.remedies import all_remedies

        for remedy in all_remedies().values():
            yield f"{remedy.name}: {remedy.summary}"
            yield f"    treats {', '.join(remedy.treats)}"
            yield f"    source: {remedy.source}"
    elif what == "detectors":
        from sweeper.detectors import all_detectors, thresholds_of

        for detector in all_detectors().values():
            yield f"{detector.symptom}: {detector.definition}"
            yield from (f"    {number}" for number in thresholds_of(detector.thresholds))
            yield f"    source: {detector.source}"
    elif what == "causes":
        from sweeper.diagnosis import all_causes, constants_of_cause

        for cause in all_causes().values():
            yield f"{cause.cause}: {cause.definition}"
            yield from (f"    {number}" for number in constants_of_cause(cause.cause))
            yield f"    remedies: {', '.join(cause.remedies) or 'none: no remedy cures it'}"
            yield f"    source: {cause.source}"
    elif what == "faults":
        from sweeper.faults import all_faults

        for fault in all_faults().values():
            yield f"{fault.name}: {fault.summary}"
            yield f"    VALUE: {fault.values}"
            yield f"    is: {', '.join(fault.causes(fault.default))}"
            yield f"    source: {fault.source}"
    else:
        places = known_spaces() if what == "spaces" else known_experiments()
        for name, path in places.items():
            yield f"{name}: {_title(path)}"


def history_lines() -> Iterator[str]:
    """What cured what in the user's earlier studies; UsageError when the file cannot be read."""
    from sweeper.search import history

    path = history.place()
    if path is None:
        raise UsageError(f"--history needs a history, got {history.VARIABLE}={history.OFF}")
    try:
        found = history.recall(path)
    except history.HistoryUnavailableError as error:
        raise UsageError(f"--history needs a history that can be read, got {error}") from None
    yield f"from {path}; {history.VARIABLE}={history.OFF} keeps none"
    yield from history.lines(found) if found else ("no study has been kept yet",)


def _title(path: Path) -> str:
    file = path if path.is_file() else path / "experiment.toml"
    return str(tomllib.loads(file.read_text()).get("title", "")) if file.is_file() else ""


def copy_shipped(name: str, dest: Path) -> Path:
    """Copy an experiment's folder or a space's file to ``dest``; nothing there is overwritten.

    Raises:
        UsageError: no such name, or the destination exists.
    """
    known = {**known_spaces(), **known_experiments()}
    if name not in known:
        raise UsageError(
            f"NAME must be a shipped experiment or space, got {name!r}{nearest(name, known)}"
        )
    source = known[name]
    target = dest / source.name if dest.is_dir() else dest
    if target.exists():
        raise UsageError(f"DEST must not exist yet, got {target}")
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".sweeper"))
    else:
        shutil.copy(source, target)
    return target
