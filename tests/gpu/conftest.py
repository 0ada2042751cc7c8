"""Tests that need a CUDA device, and how to rehearse them without one.

`DETKIT_GPU_TESTS_ON=cpu` runs their very bodies on the CPU, to see that they run, and that they fail where a
line is broken on purpose; `cuda:1` chooses among several devices.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from detkit.runtime.device import set_deterministic

SWITCH = "DETKIT_GPU_TESTS_ON"
NO_DEVICE = f"there is no CUDA device; {SWITCH}=cpu rehearses this on the CPU"

# The tolerances are those of float32: libraries of a GPU may not round its products to 10 bits (TF32). Both
# are read when the libraries start, which is before any test could ask for them.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available() or SWITCH in os.environ:
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=NO_DEVICE))


@pytest.fixture
def device() -> torch.device:
    """Return where the tests of this folder run."""
    place = torch.device(os.environ.get(SWITCH, "cuda"))
    if place.type == "cuda":
        place = torch.device("cuda", place.index or 0)
        torch.cuda.set_device(place)
    return place


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Train so that two runs give the same weights."""
    set_deterministic(True)
    yield
    set_deterministic(False)
