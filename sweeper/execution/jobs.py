"""Jobs and outcomes as files: ``job.json`` tells a child what to do, ``outcome.json`` says how it
ended.

Both are plain JSON (no pickle), written aside and moved into place with one atomic replace, so a
reader sees a whole file or none. Non-finite floats travel as the strings NaN, Infinity and
-Infinity.

A run folder is named after what is run: ``runs/<fix hash>-s<seed>-n<max_steps or full>``. The same
fix, seed and budget therefore meet the same folder, and a finished run is never repeated.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from sweeper.types import Facts, Fix, FixValue, Job, Outcome, Program, jsonable

JOB = "job.json"
OUTCOME = "outcome.json"
OUTPUT = "output.log"

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""The disk or the user's share of it is full: every command ends there with a message."""

REPEATABLE = frozenset({"infrastructure", "killed"})
"""Outcomes that say nothing about the fix: such a run is made again."""

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def run_folder(
    study: Path,
    fix: Fix,
    seed: int,
    max_steps: int | None,
    fault: Mapping[str, FixValue] | None = None,
) -> Path:
    """The folder of one run inside a study folder; an injected fault is part of its name."""
    budget = "full" if max_steps is None else str(max_steps)
    what = f"-f{Fix(changes=fault).hash}" if fault else ""
    return study / "runs" / f"{fix.hash}{what}-s{seed}-n{budget}"


def write_job(job: Job) -> Path:
    """Write ``job.json`` into the job's run folder and return its path."""
    data = {
        "schema": 1,
        "program": asdict(job.program),
        "fix": dict(job.fix.changes),
        "fault": dict(job.fault),
        "facts": None if job.facts is None else job.facts.to_dict(),
    }
    for item in fields(Job):
        if item.name not in data:
            data[item.name] = getattr(job, item.name)
    path = job.folder / JOB
    write_json(path, data)
    return path


def read_job(path: Path) -> Job:
    """Read a job back; the run folder is the one that the file names."""
    data = json.loads(path.read_text(encoding="utf-8"))
    known = {item.name for item in fields(Job)}
    values = {k: v for k, v in data.items() if k in known}
    program = data["program"]
    values["program"] = Program(
        kind=program["kind"],
        name=program["name"],
        path=Path(program["path"]),
        target=program["target"],
        argv=tuple(program["argv"]),
        cwd=Path(program["cwd"]),
    )
    values["fix"] = Fix(changes=restore_floats(data["fix"]))
    values["fault"] = restore_floats(data.get("fault", {}))
    values["rungs"] = tuple(
        (int(step), float(restore_floats(least))) for step, least in data.get("rungs", ())
    )
    values["facts"] = None if data["facts"] is None else Facts.from_dict(data["facts"])
    values["folder"] = Path(data["folder"])
    return Job(**values)


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write ``outcome.json``; called once, by the child at its end or by the driver for a run it
    had to end."""
    write_json(folder / OUTCOME, {"schema": 1, **asdict(outcome)})


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome in a run folder, or None when there is none or it is not whole."""
    try:
        data = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = {item.name for item in fields(Outcome)}
    if not isinstance(data, dict) or "status" not in data:
        return None
    values: dict[str, Any] = restore_floats({k: v for k, v in data.items() if k in known})
    values |= {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return Outcome(**values)


def finished(folder: Path) -> Outcome | None:
    """The outcome of a run that need not be made again, else None."""
    outcome = read_outcome(folder)
    return None if outcome is None or outcome.status in REPEATABLE else outcome


def made(job: Job) -> Outcome | None:
    """The outcome of the same run made before, else None: one that was stopped behind others is no
    answer where it is wanted to its end."""
    outcome = finished(job.folder)
    return None if outcome and outcome.status == "behind" and not job.rungs else outcome


def forget(folder: Path) -> None:
    """Let a run that has ended be made again."""
    with contextlib.suppress(OSError):
        (folder / OUTCOME).unlink()


def prepare_folder(job: Job) -> Path:
    """Empty the run folder of what a half-finished run left, write ``job.json``, return its path.

    Signals are append-only: a second attempt in the same folder must not continue the first one's
    file.
    """
    if (job.folder / JOB).exists():
        shutil.rmtree(job.folder, onerror=_open_up)
    job.folder.mkdir(parents=True, exist_ok=True)
    return write_job(job)


def _open_up(remove: Callable[[str], object], path: str, error: object) -> None:
    """Let a folder be removed that an overlay left without permissions; give up quietly else."""
    with contextlib.suppress(OSError):
        os.chmod(path, 0o700)
        shutil.rmtree(path) if Path(path).is_dir() else remove(path)


def unfinished(study: Path) -> list[Job]:
    """Jobs that an interrupted driver had under way, in the order of their folders' names."""
    jobs = []
    for path in sorted((study / "runs").glob(f"*/{JOB}")):
        if finished(path.parent) is None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                jobs.append(read_job(path))
    return jobs


def log_tail(folder: Path, limit: int = 2000) -> str:
    """The last characters of what the program printed, for messages."""
    try:
        with (folder / OUTPUT).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - limit))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write strict JSON atomically: readers see the old file or the new one, whole, even after a
    power loss."""
    text = json.dumps(jsonable(data), indent=1, sort_keys=True, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def restore_floats(value: Any) -> Any:
    """Undo ``jsonable``: the strings NaN, Infinity and -Infinity become numbers again."""
    if isinstance(value, str):
        return _SPECIAL.get(value, value)
    if isinstance(value, dict):
        return {k: restore_floats(v) for k, v in value.items()}
    if isinstance(value, list):
        return [restore_floats(v) for v in value]
    return value
