"""OpenCV contrib, which cannot be installed beside the OpenCV of detkit, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

PACKAGE = "opencv-contrib-python-headless>=5"


def environment() -> Path:
    """Return the interpreter of the environment with OpenCV contrib, made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "detkit" / "opencv-contrib"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "complete"
    if not done.exists():
        print(f"installing {PACKAGE} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True, stdout=sys.stderr)
        done.touch()
    return python
