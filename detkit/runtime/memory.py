"""Memory of a device, and how much of it a piece of work takes."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

import torch

_STATUS, _PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MEMINFO, _SHARED = Path("/proc/meminfo"), Path("/dev/shm")
_RESET_PEAK = "5"  # what Linux takes as the wish to forget the largest resident size


def forget_peak(device: torch.device) -> None:
    """Start measuring afresh: `peak_bytes` then tells the largest need since now, where the system can."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif _PEAK.exists():
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # what was freed would count as in use
            libc.malloc_trim(0)
        _PEAK.write_text(_RESET_PEAK, encoding="ascii")


def peak_bytes(device: torch.device) -> int:
    """Return the most memory that was in use at once: on a GPU by torch, otherwise by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if _STATUS.exists():
        return _kibibytes(_STATUS, "VmHWM") << 10
    import resource  # not on Windows

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest << 10


def free_bytes(device: torch.device) -> int | None:
    """Return how much more memory there is for this process, None where the system does not say."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _kibibytes(_MEMINFO, "MemAvailable") << 10 if _MEMINFO.exists() else None


def shared_bytes() -> int | None:
    """Return the room in /dev/shm, through which loader processes hand over batches; None without one."""
    if not _SHARED.is_dir():
        return None
    room = os.statvfs(_SHARED)
    return room.f_bavail * room.f_frsize


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is used up, on a GPU or on the CPU."""
    message = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(sign in message for sign in ("can't allocate memory", "not enough memory", "out of memory"))
    )


def shown_bytes(count: float) -> str:
    """Return a number of bytes for people.

    Example:
        >>> shown_bytes(3 << 20), shown_bytes(5.25 * (1 << 30))
        ('3 MiB', '5.2 GiB')
    """
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"


def _kibibytes(file: Path, name: str) -> int:
    lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
