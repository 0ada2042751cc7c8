"""`python -m detkit`, and the `detkit` command."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings
from collections.abc import Sequence

from detkit.cli.app import run
from detkit.runtime.cores import spin_briefly

_NEW_OBJECTS = 50_000  # between two collections; Python has 700


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: what follows the program's name; None takes them from the command line.
    """
    spin_briefly()
    # What Pillow and OpenCV say of an image names no file; detkit says what is wrong with which.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # What is imported stays: Python's collector would go through it again and again, and at the end.
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)
    return run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
