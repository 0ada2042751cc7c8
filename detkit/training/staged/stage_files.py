"""Reading what a stage left: a damaged file is named, with the way to have it made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike
from safetensors import SafetensorError

from detkit.errors import UserError, shown


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Read a file of a stage in this context, and use its arrays where they have to fit.

    Raises:
        UserError: the file is missing, damaged or of another shape.
    """
    try:
        yield
    except (SafetensorError, OSError, EOFError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise UserError(
            f"{file}: damaged, or of another training ({shown(str(error))}); delete the folder "
            f"{file.parent}, and the same command with --resume makes it again"
        ) from None


def mapped(
    file: Path, mode: Literal["r", "r+"], shape: tuple[int, ...], dtype: DTypeLike
) -> np.memmap[Any, Any]:
    """Return a .npy file of a stage, mapped into memory.

    Args:
        file: the .npy file.
        mode: to read it, or to change it.
        shape: what it has to have.
        dtype: what it has to have.

    Raises:
        UserError: the file is missing, damaged or of another shape or type.
    """
    with reading(file):
        rows = np.load(file, mmap_mode=mode, allow_pickle=False)
        if not isinstance(rows, np.memmap) or rows.shape != shape or rows.dtype != np.dtype(dtype):
            raise ValueError(f"needs {np.dtype(dtype)} of shape {shape}")
        return rows
