"""Work that is killed while it writes files."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PATIENCE_S = 45


def die_at(write: int, work: Callable[[], Any]) -> bool:
    """Do work in a process that dies when it puts a file in its place for the n-th time; return whether."""
    child = os.fork()
    if child == 0:
        left, replaced = [write], Path.replace

        def replace_or_die(part: Path, file: Path) -> Path:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return replaced(part, file)

        Path.replace = replace_or_die  # type: ignore[assignment, method-assign]
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = _ended(child)
    if status is None:
        return die_at(write, work)
    assert status in (0, 9)
    return status == 9


def _ended(child: int) -> int | None:
    """Return the status of a child; None where it was killed because it did nothing any more.

    A thread of OpenCV's may hold a lock while a process is forked, and in there nobody opens it.
    """
    for _ in range(_PATIENCE_S * 100):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def contents(folder: Path) -> dict[str, bytes]:
    """Return what the files in a folder hold."""
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if not file.is_dir()
    }
