"""Versions and machine that a result was made with."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

from detkit.version import VERSION


def environment() -> dict[str, str]:
    """Return what a result was made with: versions, machine and the command."""
    versions = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy")}
    return {
        "command": shlex.join(["detkit", *sys.argv[1:]]),
        "detkit": VERSION,
        "python": platform.python_version(),
        **versions,
        "machine": _machine(),
    }


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), cpu)
    return f"{platform.system()} {platform.release()}, {cpu}"
