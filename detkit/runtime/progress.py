"""One line on stderr that says how far a long piece of work is."""

from __future__ import annotations

import sys
import time

_BETWEEN_LINES_S = 0.2


class ProgressLine:
    """Shows what is done of how much; nothing where stderr is not a terminal.

    Args:
        what: what the work is, such as proposals.
        total: how many images there are.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._start, self._shown = time.monotonic(), 0.0
        self._visible = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self._start

    def __call__(self, done: int) -> None:
        """Say that so many images are done."""
        if not self._visible or (self.seconds - self._shown < _BETWEEN_LINES_S and done > 1):
            return
        self._shown = self.seconds
        rate = done / max(self.seconds, 1e-9)
        left = _clock((self._total - done) / rate)
        text = f"{self._what}: {done}/{self._total} images, {rate:.1f} images/s, {left} left"
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line."""
        if self._visible:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
