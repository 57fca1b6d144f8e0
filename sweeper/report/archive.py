"""``result.json``: the whole `StudyResult`, so that a report can be made again from its folder.

Read back by the annotations of the dataclasses themselves: a field that is added with a default
needs no word here, and an unknown key of a newer version is left out.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from sweeper.execution.jobs import restore_floats
from sweeper.report._plain import plain_data
from sweeper.report.study_result import StudyResult
from sweeper.types import UsageError

FILE = "result.json"
SCHEMA = 1
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def result_text(result: StudyResult, study: Path) -> str:
    """Strict JSON. Run folders are relative to the study, which may be moved as a whole."""
    data = {"schema": SCHEMA, "result": _dumped(result, study)}
    return json.dumps(plain_data(data), allow_nan=False, separators=(",", ":")) + "\n"


def read_result(path: Path, study: Path) -> StudyResult:
    """Read it back.

    Raises:
        UsageError: not readable, damaged, or written by a newer sweeper.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        schema = int(data["schema"])
        if schema > SCHEMA:
            raise UsageError(
                f"{path} must have schema <= {SCHEMA}, got {schema}: written by a newer sweeper"
            )
        result = _loaded(StudyResult, data["result"], study)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} must hold what sweeper wrote there, got {error}") from None
    assert isinstance(result, StudyResult)
    return result


def _dumped(value: Any, study: Path) -> Any:
    if is_dataclass(value):
        return {f.name: _dumped(getattr(value, f.name), study) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _dumped(v, study) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_dumped(v, study) for v in value]
    if isinstance(value, Path):
        return str(value.relative_to(study) if value.is_relative_to(study) else value)
    return value


def _loaded(kind: Any, value: Any, study: Path) -> Any:
    """The value as its annotation says; what is not one of ours stays as JSON has it."""
    origin = typing.get_origin(kind)
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return _made(kind, value, study)
    if origin is tuple:
        inner = typing.get_args(kind)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_loaded(k, v, study) for k, v in zip(kinds, value, strict=True))
    if origin in (types.UnionType, typing.Union):
        own = [k for k in typing.get_args(kind) if is_dataclass(k)]
        return _loaded(own[0], value, study) if own and value is not None else value
    if isinstance(origin, type) and issubclass(origin, Mapping):
        inner = typing.get_args(kind)[1]
        return {k: _loaded(inner, v, study) for k, v in value.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return tuple(value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is Path:
        return study / value
    if kind is float:
        return _SPECIAL[value] if isinstance(value, str) else value
    return restore_floats(value) if kind is Any else value


def _made(cls: type, data: Mapping[str, Any], study: Path) -> Any:
    hints = _hints(cls)
    values = {}
    for field in fields(cls):
        if field.name in data:
            values[field.name] = _loaded(hints[field.name], data[field.name], study)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise KeyError(f"no {field.name} of a {cls.__name__}")
    return cls(**values)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)
