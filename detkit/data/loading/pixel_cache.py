"""Pixel cache: decoded images that stay in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class PixelCache:
    """Cache of the first images read, up to a limit; nothing is evicted.

    Where images are drawn at random, whatever is kept serves as often as anything else would.

    Args:
        pixels: returns the (H, W, 3) uint8 RGB pixels of image i.
        limit_bytes: how much is kept.
    """

    def __init__(self, pixels: Callable[[int], NDArray[np.uint8]], limit_bytes: float) -> None:
        self._pixels, self._room = pixels, limit_bytes
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, image: int) -> NDArray[np.uint8]:
        """Return the pixels of an image; they are not to be written to."""
        kept = self._kept.get(image)
        if kept is None:
            kept = self._pixels(image)
            if kept.nbytes <= self._room:
                self._kept[image] = kept
                self._room -= kept.nbytes
        return kept
