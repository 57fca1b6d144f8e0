"""A program's error as Python alone would have told it, without the frames that ran it here."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
DATA = str(PACKAGE / "_data") + os.sep
"""What ships beside the code are programs like any other."""
STARTER = "<frozen runpy>"


def traceback_text(error: BaseException) -> str:
    """The error with its causes, as `traceback.format_exc` writes it.

    Our frames are left out, save the one that an error began in: a fault of ours stays to be seen.
    """
    told = traceback.TracebackException.from_exception(error)
    for part in _parts(told):
        part.stack = traceback.StackSummary.from_list(_theirs(list(part.stack)))
    return "".join(told.format())


def _parts(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    waiting = [told]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += [p for p in (part.__cause__, part.__context__) if p is not None]
        waiting += part.exceptions or []


def _theirs(frames: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    began = next((i for i, f in enumerate(frames) if not _ours(f) and f.filename != STARTER), 0)
    last = len(frames) - 1
    return [f for i, f in enumerate(frames) if i == last or (i >= began and not _ours(f))]


def _ours(frame: traceback.FrameSummary) -> bool:
    name = frame.filename
    return name.startswith(str(PACKAGE) + os.sep) and not name.startswith(DATA)
