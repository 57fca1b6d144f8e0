"""The fix file: what ``sweeper run --fix`` applies. TOML, versioned, read back strictly."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.remedies import all_remedies, validate_fix
from sweeper.types import Facts, Fix, FixValue, Program, Scalar, UsageError, VerifiedFix, jsonable

SCHEMA = 1
_KEYS = {"schema", "sweeper", "program", "source", "identity", "fix", "evidence", "facts"}
_SOURCE_KEYS = {"path", "sha256"}
_EVIDENCE_COMMENT = "measured on fresh seeds; nothing reads this table back"


@dataclass(frozen=True, kw_only=True)
class FixFile:
    """What a fix file holds besides its evidence."""

    fix: Fix
    program: str
    """Short name of the program that it was proven on; empty in a file written by hand."""
    facts: Facts | None
    """What that program was seen to be; changes are placed by it."""
    source: Path | None = None
    """Its file; None in a file written by hand."""
    sha256: str = ""
    """Of that file when the fix was proven."""

    @property
    def planned_steps(self) -> int | None:
        """Full length of the program in optimizer steps, for schedules; None where unknown."""
        return self.facts.steps if self.facts and self.facts.finished else None


def fix_text(fix: VerifiedFix, program: Program, facts: Facts, version: str) -> str:
    """The file of one verified fix."""
    lines = [
        f"# {_one_line(fix.fix.label)}",
        f"# Restores {_one_line(program.name)} on {fix.restored} of {fix.seeds} fresh seeds.",
        "# Apply it with",
        "#     sweeper run --fix THIS_FILE PROGRAM [ARGS...]",
        "# or change the code (`sweeper show THIS_FILE` says where):",
        *(f"#     {_one_line(line)}" for line in advice_lines(fix.fix, facts)),
        f"schema = {SCHEMA}",
        f"sweeper = {_toml(version)}",
        f"program = {_toml(program.name)}",
        f"source = {_toml({'path': str(program.path), 'sha256': _hash(program)})}",
        f"identity = {_toml(program.identity)}",
        "",
        "[fix]",
        *(f"{name} = {_toml(value)}" for name, value in sorted(fix.fix.changes.items())),
        "",
        f"[evidence]  # {_EVIDENCE_COMMENT}",
        f"restored = {fix.restored}",
        f"seeds = {_toml([trial.seed for trial in fix.trials])}",
        f"wilson_low = {_toml(round(fix.wilson.low, 4))}",
        f"metric = {_toml(fix.metric_name)}",
        f"baseline = {_toml(fix.baseline_metric)}",
        f"median = {_toml(fix.metric.value)}",
        f"low = {_toml(fix.metric.low)}",
        f"high = {_toml(fix.metric.high)}",
        f"steps = {fix.steps}",
        f"runs = {_toml([f'runs/{trial.folder.name}' for trial in fix.trials])}",
        "",
        "# What the unchanged program was seen to be: the changes are placed by it.",
        "[facts]",
        f"json = {_facts_block(facts)}",
    ]
    return "\n".join(lines) + "\n"


def advice_lines(fix: Fix, facts: Facts) -> list[str]:
    """The code that a person would type, remedy by remedy."""
    known = all_remedies()
    return [
        line
        for name, value in sorted(fix.changes.items())
        if name in known
        for line in known[name].advice(value, facts).splitlines()
    ]


def read_fix(path: Path) -> FixFile:
    """Read a fix file, one of ours or one typed by hand (``[fix]`` alone will do).

    Raises:
        UsageError: missing or not TOML, unknown keys, a version from the future, an unknown remedy,
            a value outside of its rule.
    """
    data = _parsed(path)
    unknown = sorted(set(data) - _KEYS)
    if unknown:
        raise UsageError(
            f"a fix file has the keys {', '.join(sorted(_KEYS))}, got {unknown[0]!r} in {path}"
        )
    schema = data.get("schema", SCHEMA)
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise UsageError(f"schema must be a whole number from 1 on, got {schema!r} in {path}")
    if schema > SCHEMA:
        raise UsageError(
            f"schema must be at most {SCHEMA}, got {schema} in {path}: written by a newer sweeper"
        )
    changes = data.get("fix")
    if not isinstance(changes, dict) or not changes:
        raise UsageError(
            f"[fix] must be a table with at least one change, got {changes!r} in {path}"
        )
    program = data.get("program", "")
    if not isinstance(program, str):
        raise UsageError(f"program must be text, got {program!r} in {path}")
    mapping = {name: _value(name, value, path) for name, value in changes.items()}
    source = data.get("source", {})
    if not isinstance(source, dict) or not all(
        key in _SOURCE_KEYS and isinstance(text, str) for key, text in source.items()
    ):
        raise UsageError(f"source must hold a path and a sha256, got {source!r} in {path}")
    return FixFile(
        fix=validate_fix(mapping, f"[fix] of {path}"),
        program=program,
        facts=_facts(data, path),
        source=Path(source["path"]) if source.get("path") else None,
        sha256=source.get("sha256", ""),
    )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"--fix must be a file that can be read, got {path}: {error.strerror}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"a fix file must be TOML, got {path}: {error}") from None


def _value(name: str, value: Any, path: Path) -> FixValue:
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict) and all(
        isinstance(v, (bool, int, float, str)) for v in value.values()
    ):
        return value
    raise UsageError(
        f"[fix] {name} must be a number, text, true or false, or a table of those, "
        f"got {value!r} in {path}"
    )


def _facts(data: Mapping[str, Any], path: Path) -> Facts | None:
    table = data.get("facts")
    if table is None:
        return None
    try:
        return Facts.from_dict(json.loads(table["json"]))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UsageError(
            f"[facts] must hold what sweeper wrote there, got {error} in {path}"
        ) from None


def _facts_block(facts: Facts) -> str:
    """One fact per line, in a literal string, which TOML reads without any escape."""
    pairs = (
        f"{json.dumps(key)}: {json.dumps(jsonable(value))}"
        for key, value in facts.to_dict().items()
    )
    text = "{\n" + ",\n".join(pairs) + "\n}"
    return f"'''\n{text}\n'''" if "'''" not in text else _toml(text)


def _toml(value: FixValue | list[Any]) -> str:
    """One TOML value. JSON's strings are TOML's, apart from surrogates and DEL."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return _scalar(value)


def _scalar(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
        return repr(value)
    if isinstance(value, int):
        return str(value)
    printable = value.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(printable, ensure_ascii=False).replace("\x7f", "\\u007f")


def _hash(program: Program) -> str:
    try:
        return hashlib.sha256(program.path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _one_line(text: str) -> str:
    """Safe in a TOML comment: no line break, no control character."""
    return "".join(c if c.isprintable() else " " for c in text)
