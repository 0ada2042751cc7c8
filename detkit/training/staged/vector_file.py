"""Vectors of the regions of many images, in one file that is mapped into memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.training.staged.stage_files import mapped

Kept = Literal["fp16", "fp32"]
_TYPES: dict[Kept, type[np.floating[Any]]] = {"fp16": np.float16, "fp32": np.float32}
# What an operating system says of a file system that cannot reserve space.
_CANNOT_RESERVE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


class VectorFile:
    """For each of N images as many vectors as it has regions, all in a .npy file.

    Several processes may write different images at the same time.

    Args:
        file: the .npy file.
        counts: (N,) vectors of each image.
        width: length of a vector.
        kept: their type on the disk.
    """

    def __init__(self, file: Path, counts: NDArray[np.int64], width: int, kept: Kept) -> None:
        self.file, self.kept = file, kept
        self.offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        self.shape = (int(self.offsets[-1]), width)
        self._rows: NDArray[Any] | None = None

    @property
    def num_bytes(self) -> int:
        """Size on the disk."""
        return self.shape[0] * self.shape[1] * np.dtype(_TYPES[self.kept]).itemsize

    def create(self) -> None:
        """Make the file, with its space on the disk reserved, unless it is there already.

        Raises:
            UserError: the disk is full.
        """
        if self.file.exists() or not self.num_bytes:
            return
        part = self.file.with_name(f".{self.file.name}.part")
        np.lib.format.open_memmap(part, "w+", _TYPES[self.kept], self.shape)
        with part.open("r+b") as stream:
            _reserve(stream.fileno(), part)
        part.replace(self.file)

    def put(self, image: int, vectors: Iterable[NDArray[np.float32]]) -> None:
        """Write the vectors of an image, some at a time, from first to last."""
        rows, (at, end) = self._mapped("r+"), self.offsets[image : image + 2].tolist()
        for some in vectors:
            rows[at : at + len(some)] = some
            at += len(some)
        assert at == end, "an image has other regions than its file was made for"

    def get(self, image: int, rows: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float32]:
        """Return (some of) the (R, D) float32 vectors of an image."""
        start, end = self.offsets[image : image + 2].tolist()
        taken: NDArray[np.float32] = self._mapped("r")[start:end][rows].astype(np.float32)
        return taken

    def flush(self) -> None:
        """Have what was written put on the disk."""
        if isinstance(self._rows, np.memmap):
            self._rows.flush()

    def _mapped(self, mode: Literal["r", "r+"]) -> NDArray[Any]:
        if not self.num_bytes:
            return np.zeros(self.shape, _TYPES[self.kept])
        if self._rows is None:
            self._rows = mapped(self.file, mode, self.shape, _TYPES[self.kept])
        return self._rows


def _reserve(descriptor: int, file: Path) -> None:
    """Have the system set space aside: writing to a mapped file when the disk is full kills the process."""
    if not hasattr(os, "posix_fallocate"):  # not on macOS
        return
    try:
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            file.unlink()
            raise UserError(f"{file}: no space for it on the disk ({error.strerror})") from None
