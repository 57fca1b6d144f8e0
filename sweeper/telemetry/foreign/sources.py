"""From a path to tables: which format a file has, and which logs lie in a folder."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sweeper.telemetry.foreign.csv_log import read_csv
from sweeper.telemetry.foreign.json_log import read_json
from sweeper.telemetry.foreign.mlflow_log import is_metric_file, read_mlflow
from sweeper.telemetry.foreign.table import Table
from sweeper.telemetry.foreign.tensorboard_log import is_event_file, read_tensorboard
from sweeper.telemetry.foreign.text import encoding_of, read_head, text_of
from sweeper.telemetry.foreign.wandb_log import MAGIC, read_wandb
from sweeper.types import UsageError

PROGRAMS = ("", ".py", ".pyw")
"""Endings of files that are programs; one without an ending is a log only if it looks like one."""
MOST_FILES = 20_000
"""Files of a folder that are looked at."""
DEEPEST = 8
MOST_LOGS = 32
"""Logs of one folder that are read."""
_TEXTS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")


def is_log(path: Path) -> bool:
    """Whether a path on the command line is a log rather than a program."""
    if path.is_dir():
        return not (path / "__main__.py").exists()
    if path.suffix.lower() not in PROGRAMS:
        return path.exists()
    if path.suffix or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(256)
    return is_event_file(path, head) or is_metric_file(head)


def read_tables(path: Path, asked: Mapping[str, str]) -> list[tuple[str, Table]]:
    """Every log at a path, with a name where there are several.

    Raises:
        UsageError: nothing there can be read as a log; the message says rule, place and reason.
    """
    if path.is_dir():
        return _folder(path, asked)
    return [("", _file(path, asked))]


def _file(path: Path, asked: Mapping[str, str]) -> Table:
    head = read_head(path)
    if is_event_file(path, head):
        return read_tensorboard([("", path)], asked)
    if head.startswith(MAGIC):
        return read_wandb(path, asked)
    if is_metric_file(head) and path.suffix.lower() not in _TEXTS:
        return read_mlflow([("", _metric_name(path, path.parent), path)], asked)
    encoding = encoding_of(head, path)
    start = text_of(head, encoding).lstrip("\ufeff \t\r\n")[:1]
    if start in ("{", "["):
        return read_json(path, head, encoding, asked)
    return read_csv(path, head, encoding, asked)


def _folder(folder: Path, asked: Mapping[str, str]) -> list[tuple[str, Table]]:
    events: list[Path] = []
    states: list[Path] = []
    tables: list[Path] = []
    metrics: list[Path] = []
    others: list[Path] = []
    for path in _files(folder):
        if "tfevents" in path.name:
            events.append(path)
        elif path.name == "trainer_state.json":
            states.append(path)
        elif path.name in ("metrics.csv", "results.csv") or path.suffix == ".wandb":
            tables.append(path)
        elif "metrics" in path.relative_to(folder.parent).parts[:-1] and _is_metric(path):
            metrics.append(path)
        elif path.suffix.lower() in _TEXTS:
            others.append(path)
    if states:
        return _several(folder, _latest(states), asked)
    if tables:
        return _several(folder, tables, asked)
    if events:
        runs = [(_run_of(p.parent, folder), p) for p in events[: MOST_LOGS * 64]]
        return [("", read_tensorboard(runs, asked))]
    if metrics:
        return [("", read_mlflow([_metric(p, folder) for p in metrics], asked))]
    scripts = [p.name for p in folder.iterdir() if p.suffix in PROGRAMS[1:]]
    scripts.sort(key=lambda name: (not name.startswith(("train", "main")), name))
    if scripts and others:  # a table beside a program is more often its data than its log
        raise UsageError(
            "LOG must be named where its folder holds programs too, got the folder"
            f" {str(folder)!r} with {scripts[0]} and {others[0].relative_to(folder).as_posix()}:"
            f" name the program to check, as in `sweeper check {scripts[0]}`, or the log"
        )
    if len(others) == 1:
        return [("", _file(others[0], asked))]
    some = ", ".join(p.relative_to(folder).as_posix() for p in others[:5])
    raise UsageError(
        "LOG must be a file, or a folder with TensorBoard events, MLflow metrics, a metrics.csv or"
        f" a trainer_state.json, got the folder {str(folder)!r}"
        + (f" with {len(others)} files: name one ({some})" if others else " without any")
    )


def _several(folder: Path, paths: list[Path], asked: Mapping[str, str]) -> list[tuple[str, Table]]:
    if len(paths) == 1:
        return [("", _file(paths[0], asked))]
    return [(_run_of(p.parent, folder) or p.stem, _file(p, asked)) for p in paths[:MOST_LOGS]]


def _files(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, sorted, links not followed."""
    seen = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        if len(Path(place).relative_to(folder).parts) >= DEEPEST:
            folders.clear()
        for name in sorted(names):
            seen += 1
            if seen > MOST_FILES:
                return
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _is_metric(path: Path) -> bool:
    with path.open("rb") as file:
        return is_metric_file(file.read(256))


def _metric(path: Path, folder: Path) -> tuple[str, str, Path]:
    """Run, metric and file; metric names may hold slashes, which are folders."""
    parts = list(path.parts)
    at = len(parts) - 2 - parts[-2::-1].index("metrics")
    base = Path(*parts[: at + 1])
    return _run_of(base.parent, folder), _metric_name(path, base), path


def _metric_name(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def _run_of(place: Path, folder: Path) -> str:
    return (
        "" if place == folder or place in folder.parents else place.relative_to(folder).as_posix()
    )


def _latest(states: list[Path]) -> list[Path]:
    """One state of each run: the one outside of its checkpoints, else that of the last."""
    runs: dict[Path, list[tuple[float, Path]]] = {}
    for path in states:
        found = re.fullmatch(r"checkpoint-(\d{1,12})", path.parent.name)
        run = path.parent.parent if found else path.parent
        runs.setdefault(run, []).append((float(found[1]) if found else math.inf, path))
    return [max(found)[1] for found in runs.values()]
