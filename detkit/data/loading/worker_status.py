"""What each loader process is busy with, so that one that dies can still be asked."""

from __future__ import annotations

import os
import re

import torch

NOTHING = -1
_WORKERS = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")


class Diary:
    """One line for each loader process, in memory that all of them share: its process id and its image.

    Args:
        workers: number of loader processes.
    """

    def __init__(self, workers: int) -> None:
        self._lines = torch.full((workers, 2), NOTHING, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def note(self, worker: int, image: int) -> None:
        """Write down, in a loader process, that it begins with an image."""
        self._lines[worker, 0] = os.getpid()
        self._lines[worker, 1] = image

    def images_of(self, message: str) -> list[int]:
        """Return the images that processes were busy with that torch reports as dead.

        Args:
            message: torch's own, which gives their process ids.
        """
        found = _WORKERS.match(message)
        dead = {int(number) for number in found[1].split(",")} if found else set()
        return [image for process, image in self._lines.tolist() if process in dead and image != NOTHING]
