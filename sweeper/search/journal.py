"""The study's file: Optuna's journal, written by the driver alone under the study lock.

Two defects of the format are covered when it is opened (engines.md 1.5): a last record that was cut
by a power loss, onto which the next one would be glued, and a lock file that a killed writer left
behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeper.types import UsageError

JOURNAL = "study.journal"
TORN = ".torn"


def repair(path: Path) -> int:
    """Cut a journal behind its last whole record; return how many bytes were cut.

    What is cut is kept beside the journal. A record is whole when its line ends and is JSON; only
    the last line can be torn, because each one is written and synced before the next.
    """
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        while end and not _is_record(data[data.rfind(b"\n", 0, end - 1) + 1 : end]):
            end = data.rfind(b"\n", 0, end - 1) + 1
        if end == len(data):
            return 0
        path.with_name(path.name + TORN).write_bytes(data[end:])
        file.truncate(end)
        file.flush()
        os.fsync(file.fileno())
    return len(data) - end


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def open_journal(path: Path, name: str) -> optuna.Study:
    """Open or create the study; the caller holds the study lock, so a lock file here is a dead
    writer's.

    Raises:
        UsageError: the file is not a journal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.with_name(path.name + ".lock").unlink()
    repair(path)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(path)))
            return optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
    except (ValueError, KeyError, AssertionError) as error:
        raise UsageError(f"a study journal holds whole records, got {error} in {path}") from None


def told_phases(path: Path) -> dict[str, str]:
    """Run folder -> phase of every trial told so far; empty without a journal that can be read.

    Nothing is written or locked: the study's driver may be at work.
    """
    if not path.is_file():
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(path)))
            trials = optuna.load_study(storage=storage, study_name=None).get_trials(deepcopy=False)
    except (ValueError, KeyError, AssertionError):
        return {}
    attributes = [trial.user_attrs for trial in trials]
    return {a["folder"]: a["phase"] for a in attributes if "folder" in a and "phase" in a}
