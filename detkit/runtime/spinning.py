"""Time that PyTorch's waiting threads spin before they sleep."""

from __future__ import annotations

import os

SPINS = "1000"


def spin_briefly() -> None:
    """Let threads that wait for another one go to sleep soon, so that it gets their core.

    GNU's OpenMP, which PyTorch's wheels for Linux bring along, otherwise looks out for milliseconds at each
    operation. It reads the environment when it is loaded: this must come before torch is imported.
    What the user has set (`GOMP_SPINCOUNT`, `OMP_WAIT_POLICY`) stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
