"""torch.compile for the part of a detector that computes its maps."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable

from torch import nn

from detkit.capabilities import ComputesMaps
from detkit.errors import UserError


def compile_maps(model: nn.Module, backend: str | Callable[..., object] = "inductor") -> None:
    """Let torch.compile translate the modules of a detector that compute maps of whole images.

    Image sizes stay open, so one translation serves all of them; another is made where the batch has one
    image instead of several, and where a training detects. What follows works on as many regions as an
    image happens to have, in compiled loops and the device's own kernels already, and stays as it is.
    The names of the weights do not change.

    Args:
        model: a detector; see `detkit.capabilities.ComputesMaps`.
        backend: of torch.compile.

    Raises:
        UserError: the CPU's backend finds no C++ compiler, or the detector names no such modules.
    """
    if not isinstance(model, ComputesMaps):
        raise UserError(
            f"compile: true: {type(model).__name__} does not say which of its modules compute maps; give it "
            "a method map_modules(), or leave compile: false"
        )
    parts = model.map_modules()
    on_cpu = any(parameter.device.type == "cpu" for part in parts for parameter in part.parameters())
    if on_cpu and backend == "inductor":
        _require_compiler()
    for part in parts:
        part.compile(backend=backend, dynamic=True)


def _require_compiler() -> None:
    wanted = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(wanted) is None:
        raise UserError(
            f"compile: torch.compile needs a C++ compiler on the CPU, and there is no {wanted}; install one, "
            "name yours in the environment variable CXX, or leave compile: false"
        )
