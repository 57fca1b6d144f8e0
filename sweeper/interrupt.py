"""Ctrl-C and SIGTERM: once ends the runs under way and reports what is there, twice ends now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sweeper.types import Outcome

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether the person has had enough."""

    def __init__(self) -> None:
        self.reason = ""
        """Why to stop, or the empty string."""

    def checked(self, outcome: Outcome) -> Outcome:
        """The outcome of a run that nothing can go on without; KeyboardInterrupt when it was ended
        for us."""
        if self.reason and outcome.status == "killed":
            raise KeyboardInterrupt
        return outcome

    @contextmanager
    def handled(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While inside, the first signal sets ``reason`` and calls ``cancel``, which ends the runs
        under way; the second raises KeyboardInterrupt. Outside of the main thread nothing is
        handled, since Python delivers signals there only.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.reason:
                raise KeyboardInterrupt
            self.reason = f"interrupted by {signal.Signals(number).name}"
            # Not here: a handler must not wait for a lock that the interrupted code may hold.
            threading.Thread(target=cancel, name="sweeper-cancel", daemon=True).start()

        before = {number: signal.signal(number, handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)
