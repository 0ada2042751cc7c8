"""Ctrl-C that lets the present step finish."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NOTICE = b"\nFinishing this step; press Ctrl-C again to stop at once.\n"


class Interrupt:
    """Turns the first Ctrl-C (or SIGTERM, which schedulers send) into a request; the second acts at once.

    Used as a `with`. Outside the main thread, where Python delivers no signals, it does nothing.

    Attributes:
        requested: whether to stop after the present step.
    """

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False
        self._owner = os.getpid()
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """Let already the first Ctrl-C raise KeyboardInterrupt, where nothing would be lost."""
        self._at_once = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            self._receive_in_worker(number)
        elif self.requested or self._at_once:
            raise KeyboardInterrupt
        else:
            self.requested = True
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _NOTICE)

    @staticmethod
    def _receive_in_worker(number: int) -> None:
        # A forked loader worker inherits this handler. A terminal sends Ctrl-C to it as well; the main
        # process decides when it ends, and does so by SIGTERM.
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
