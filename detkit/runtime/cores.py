"""Cores of a process: how many, for what, and how long a waiting thread keeps one."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MOST_WORKERS = 8
SPINS = "1000"


def num_cores() -> int:
    """Return the number of cores that this process may use.

    Those it is bound to, and no more than a container's quota of processor time amounts to.

    Example:
        >>> num_cores() >= 1
        True
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(CGROUP)
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def share_of_cores() -> int:
    """Return this process's share of the cores, where torchrun started several on this machine."""
    return max(1, num_cores() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def num_workers(wanted: int | None) -> int:
    """Return the number of loader processes: as wanted, or the cores that training leaves over.

    On one or two cores images are loaded between the steps: a worker would only take turns with them.
    """
    if wanted is not None:
        return wanted
    share = share_of_cores()
    return min(MOST_WORKERS, share - 1) if share > 2 else 0


def spin_briefly() -> None:
    """Let threads that wait for another one go to sleep soon, so that it gets their core.

    GNU's OpenMP, which PyTorch's wheels for Linux bring along, otherwise looks out for milliseconds at each
    operation. It reads the environment when it is loaded: this must come before torch is imported.
    What the user has set (`GOMP_SPINCOUNT`, `OMP_WAIT_POLICY`) stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _quota(root: Path) -> float | None:
    """Return the cores' worth of time that a container has; None where there is no limit."""
    try:
        if (root / "cpu.max").is_file():
            allowed, period = (root / "cpu.max").read_text().split()
        else:
            files = (root / "cpu" / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
            allowed, period = (file.read_text().strip() for file in files)
        return None if allowed in {"max", "-1"} else int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
