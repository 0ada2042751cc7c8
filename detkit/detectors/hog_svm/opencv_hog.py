"""Vectors of OpenCV's HOG detectors -> our HOG + SVM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.detectors.importers import Foreign, Wanted
from detkit.errors import UserError
from detkit.models.hog.descriptor import HOG
from detkit.names import one_line
from detkit.storage.regular_files import is_file

WINDOWS = ((64, 128), (48, 96))  # of the detectors that come with OpenCV
_NUMBERS = "a vector of numbers (.npy, .npz or text), the weights and perhaps the bias behind them"


def read_opencv_hog(files: Sequence[Path], wanted: Wanted) -> Foreign:
    """Return the detector whose vector OpenCV's `HOGDescriptor.setSVMDetector` takes.

    The file is a .npy, a .npz of one array, or text. The size of the window follows from the vector's length
    for those of OpenCV's own detectors, 64 x 128 and 48 x 96; without a bias it is 0. Settings are those of
    OpenCV's `HOGDescriptor()` and `detectMultiScale`, without padding.

    Args:
        files: one, with the vector.
        wanted: the class's name, "person" unless it is given, and perhaps the window.

    Raises:
        UserError: the file holds no such vector, or no known window has its length.
    """
    if len(files) > 1:
        raise UserError(f"--from opencv-hog: a detector is one file, got {len(files)}")
    file = files[0]
    if len(wanted.classes) > 1:
        raise UserError(f"--class: {file} holds a detector of one class, got {len(wanted.classes)} names")
    hog, vector = HOG(), _vector(file)
    (width, height), has_bias = _window(file, len(vector), hog, wanted.window)
    rows, columns = hog.num_blocks(height), hog.num_blocks(width)
    weights = torch.from_numpy(vector[: rows * columns * hog.block_size])
    bias = vector[-1:] if has_bias else np.zeros(1, np.float32)
    return Foreign(
        config="hog_svm_inria",
        overrides=(
            f"detector.regions.windows=[[{width}, {height}]]",
            "detector.regions.context_px=0",
            "detector.proposals.padding_px=0",
            "detector.head.margin_threshold=0",
            "detector.head.grouping=rectangles",
            "detector.head.more_than=2",
        ),
        classes=wanted.classes or ("person",),
        state={
            # Theirs goes through the window's blocks column by column.
            "templates.0.weight": weights.view(columns, rows, hog.block_size).permute(2, 1, 0).contiguous(),
            "templates.0.bias": torch.from_numpy(bias),
        },
    )


def _vector(file: Path) -> NDArray[np.float32]:
    if not is_file(file):
        raise UserError(f"{file}: no such file")
    try:
        arrays = _arrays(file)
        vector = np.concatenate([np.asarray(array).ravel() for array in arrays.values()]).astype(np.float32)
    except (ValueError, TypeError, OSError, EOFError, KeyError, MemoryError, BadZipFile) as error:
        raise UserError(one_line(f"{file}: must hold {_NUMBERS} ({error})")) from None
    if len(arrays) != 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise UserError(one_line(f"{file}: must hold one array, got {listed}"))
    if not np.isfinite(vector).all():
        raise UserError(f"{file}: has values that are not finite numbers")
    return vector


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    if file.suffix not in (".npy", ".npz"):
        return {"": np.array([float(word) for word in file.read_text("utf-8").replace(",", " ").split()])}
    read = np.load(file, allow_pickle=False)  # pickled objects could run code
    if not isinstance(read, np.lib.npyio.NpzFile):
        return {"": read}
    with read:
        return {name: read[name] for name in read.files}


def _window(
    file: Path, length: int, hog: HOG, wanted: tuple[int, int] | None
) -> tuple[tuple[int, int], bool]:
    """Return the (width, height) of the window, and whether a bias comes last."""
    known = WINDOWS if wanted is None else (wanted,)
    for width, height in known:
        for side in (width, height):
            if side < hog.block_px or (side - hog.block_px) % hog.stride_px:
                raise UserError(
                    f"--window {width}x{height}: sides must be {hog.block_px} pixels and a multiple of "
                    f"{hog.stride_px} more"
                )
        size = hog.num_blocks(width) * hog.num_blocks(height) * hog.block_size
        if length in (size, size + 1):
            return (width, height), length > size
    lengths = " or ".join(
        f"{hog.num_blocks(width) * hog.num_blocks(height) * hog.block_size + 1} (window {width}x{height})"
        for width, height in known
    )
    hint = "" if wanted else "; --window WIDTHxHEIGHT names another"
    raise UserError(f"{file}: must hold {lengths} numbers with the bias, got {length}{hint}")
