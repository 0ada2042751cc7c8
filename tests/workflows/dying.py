"""Work that is killed while it writes files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2


def die_at(write: int, work: Callable[[], Any]) -> bool:
    """Do work in a process that dies when it puts a file in its place for the n-th time; return whether."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one of OpenCV's may hold a lock, which nobody opens in the process that is forked
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
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    cv2.setNumThreads(threads)
    assert status in (0, 9)
    return status == 9


def contents(folder: Path) -> dict[str, bytes]:
    """Return what the files in a folder hold."""
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if not file.is_dir()
    }
