"""What an edit of code is: from a remedy's value to pieces of the script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeper.report.code._script import Piece, Script
from sweeper.types import Facts, Fix


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where the change goes."""

    pieces: tuple[Piece, ...]
    note: str = ""
    """Why the changed script's numbers may differ from those under the fix file; empty where they
    are the same bit for bit."""


@dataclass(frozen=True, kw_only=True)
class CodeEdit:
    """One kind of edit. A module of this package with a constant ``EDIT`` is one."""

    remedy: str
    edit: Callable[[Script, Fix, Facts], Placed]
    """Raises Unsure where the place is not certain."""
