"""Evidence as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.types import jsonable


def plain_data(value: Any) -> Any:
    """Strict JSON values: numbers and arrays of numpy become Python's, paths become text, and what
    is not finite becomes a word."""
    return jsonable(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return _plain(value.tolist()) if hasattr(value, "tolist") else value
