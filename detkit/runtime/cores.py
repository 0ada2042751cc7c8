"""The cores that this process may use."""

from __future__ import annotations

import os

MOST_WORKERS = 8


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_workers(wanted: int | None) -> int:
    """Return the number of loader processes: as wanted, or the cores that training leaves over.

    On one or two cores images are loaded between the steps: a worker would only take turns with them.
    """
    if wanted is not None:
        return wanted
    share = num_cores() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return min(MOST_WORKERS, share - 1) if share > 2 else 0
