"""Progress: on a terminal a line that vanishes at the end, below messages; in a log a line now and then."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from detkit.names import message

if TYPE_CHECKING:
    from rich.progress import Progress

_BETWEEN_REFRESHES_S, _BETWEEN_LINES_S = 0.1, 30.0
_shown: Progress | None = None  # a terminal has room for one; what is said goes through its console


def say(*lines: str) -> None:
    """Tell the user something on stderr, where it does not mix with results; see `message`.

    Args:
        lines: each is one line of the output, whatever is in it.
    """
    for line in map(message, lines):
        if _shown is None:
            print(line, file=sys.stderr, flush=True)
        else:
            _shown.console.print(line, markup=False, highlight=False, soft_wrap=True)


class ProgressLine:
    """Count, rate and time left of a long piece of work; used as a `with`.

    Where stderr is not a terminal, process 0 says now and then how far it is; nothing is shown while another
    line is.

    Args:
        what: name of the work, such as proposals.
        total: number of items; None where the first call tells it.
        done: items that were done before.
        unit: name of the items.
        logs: False says nothing where there is no terminal, for work that has a log of its own.
    """

    def __init__(
        self, what: str, total: int | None = None, done: int = 0, unit: str = "images", *, logs: bool = True
    ) -> None:
        self._start, self._refreshed = time.monotonic(), 0.0
        self._done_before, self._total, self._unit = done, total, unit
        self._bar = _bar(what, total, done) if _shown is None else None
        self._what = what
        self._logs = logs and self._bar is None and _shown is None and os.environ.get("RANK", "0") == "0"

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self._start

    @property
    def is_visible(self) -> bool:
        """Whether there is a terminal that shows the line."""
        return self._bar is not None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _shown  # noqa: PLW0603 (there is one terminal)
        if self._bar is not None and self._bar is _shown:
            self._bar.stop()
            _shown = None

    def __call__(self, done: int, total: int | None = None, *, state: str | None = None) -> None:
        """Show that so many items are done.

        Args:
            done: number of items.
            total: number of all items, where it was not known before.
            state: text behind the rest of the line; None leaves what is there.
        """
        global _shown  # noqa: PLW0603 (there is one terminal)
        if self._logs:
            self._log(done, total or self._total)
        if self._bar is None or _shown not in {None, self._bar}:
            return
        if _shown is None:
            self._bar.start()
            _shown = self._bar
        task, self._total = self._bar.task_ids[0], total or self._total
        rate = f"{(done - self._done_before) / max(self.seconds, 1e-9):.3g} {self._unit}/s"
        fields = {"rate": rate} if state is None else {"rate": rate, "state": state}
        self._bar.update(task, completed=done, total=self._total, **fields)  # type: ignore[arg-type]
        if self.seconds - self._refreshed > _BETWEEN_REFRESHES_S or done == self._total:
            self._refreshed = self.seconds
            self._bar.refresh()

    def _log(self, done: int, total: int | None) -> None:
        if self.seconds - self._refreshed < _BETWEEN_LINES_S:
            return
        self._refreshed = self.seconds
        rate = (done - self._done_before) / self.seconds
        of, left = f" of {total:,}" if total else "", ""
        if total and rate > 0:
            minutes, seconds = divmod(round((total - done) / rate), 60)
            left = f", {minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"
        say(f"{self._what}: {done:,}{of} {self._unit}, {rate:.3g} {self._unit}/s{left}")


def _bar(what: str, total: int | None, done: int) -> Progress | None:
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    # What is behind the rest gives way where a terminal is narrow: how far it is stays to be seen.
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False, table_column=rest),
        console=console,
        expand=True,
        transient=True,
        auto_refresh=False,  # its thread would be there when loader workers are forked
    )
    bar.add_task(what, total=total, completed=done, state="", rate="")
    return bar
