"""The program's forward and backward passes until its first steps are over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Pass = Literal["forward", "backward"]
Call = Callable[[], Any]


class Passes:
    """One remedy's callback may stand around them: to take back what they do not survive."""

    def __init__(self) -> None:
        self.over = False
        self._around: Callable[[Pass, Call], Any] | None = None
        self._inside = False

    @property
    def watched(self) -> bool:
        return self._around is not None and not self.over

    def around(self, callback: Callable[[Pass, Call], Any]) -> None:
        """``callback(which, call)`` returns what ``call()`` gives; a forward can be repeated."""
        self._around = callback

    def run(self, which: Pass, call: Call) -> Any:
        """What the seams do with an outermost pass; one inside another is left alone."""
        if self._around is None or self.over or self._inside:
            return call()
        self._inside = True
        try:
            return self._around(which, call)
        finally:
            self._inside = False
