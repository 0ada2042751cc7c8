"""Windows of fixed sizes over an image and smaller copies of it, scored by linear templates on HOG blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.models.hog.descriptor import HOG, Floats, Pixels, hog_blocks
from detkit.ops.kernels.hog_loops import add_shifted
from detkit.runtime.compiled import run_all
from detkit.runtime.threads import number_kept

Size = tuple[int, int]


@dataclass(frozen=True)
class Pyramid:
    """The copies of an image that windows move over, as OpenCV's `detectMultiScale` makes them.

    Attributes:
        scale_step: by so much each copy is smaller than the one before.
        max_levels: most copies, with the image itself.
        padding_px: windows begin so far outside each copy, which is mirrored there; rounded up to the step
            from block to block.
    """

    scale_step: float = 1.05
    max_levels: int = 64
    padding_px: int = 0

    def scales(self, size: Size, window: Size) -> list[float]:
        """Return how many times as large as its copies an image is, 1 and rising, while the window fits in.

        The first is always there: with padding a window may be larger than the image.

        Args:
            size: (height, width) of the image in pixels.
            window: (height, width) of the window in pixels.

        Example:
            >>> Pyramid(scale_step=2).scales((300, 200), (128, 64))
            [1.0, 2.0]
        """
        scales, scale = [1.0], 1.0
        while len(scales) < self.max_levels and self.scale_step > 1:
            scale *= self.scale_step
            if any(round(side / scale) < least for side, least in zip(size, window, strict=True)):
                break
            scales.append(scale)
        return scales


@dataclass(frozen=True)
class Level:
    """HOG of one copy of an image.

    Attributes:
        scale: the image is so many times as large.
        blocks: (rows, columns, D) of the whole copy.
        start_px: where the first block begins, in pixels of the copy, along both sides.
        stride_px: pixels from block to block.
    """

    scale: float
    blocks: Floats
    start_px: int
    stride_px: int

    def boxes(self, places: NDArray[np.int64], window: Size) -> NDArray[np.int64]:
        """Return (N, 4) corner boxes in pixels of the image of windows that begin at blocks.

        Corner and sides are each rounded to whole pixels, as in OpenCV.

        Args:
            places: (N, 2) row and column of their first blocks.
            window: their (height, width) in pixels of the copy.
        """
        corners = np.rint((places[:, ::-1] * self.stride_px + self.start_px) * self.scale)
        sides = np.rint(np.array(window[::-1]) * self.scale)
        return np.concatenate([corners, corners + sides], axis=1).astype(np.int64)

    def features(self, places: NDArray[np.int64], shape: Size) -> Floats:
        """Return (N, D, rows, columns) blocks of windows.

        Args:
            places: (N, 2) row and column of their first blocks.
            shape: rows and columns of blocks of a window.
        """
        windows = np.lib.stride_tricks.sliding_window_view(self.blocks, shape, axis=(0, 1))
        return np.ascontiguousarray(windows[places[:, 0], places[:, 1]])


def levels_of(pixels: Pixels, hog: HOG, pyramid: Pyramid, window: Size) -> list[Level]:
    """Return the levels of an image, computed side by side by as many threads as PyTorch takes.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        hog: the parameters.
        pyramid: the copies.
        window: (height, width) in pixels of the smallest window.
    """
    size = pixels.shape[0], pixels.shape[1]
    scales = pyramid.scales(size, window)
    padding_px = -(-pyramid.padding_px // hog.stride_px) * hog.stride_px
    found: list[Level | None] = [None] * len(scales)

    def fill(number: int) -> None:
        scale = scales[number]
        blocks = hog_blocks(resized(pixels, scale), hog, padding_px)
        found[number] = Level(scale, blocks, -padding_px, hog.stride_px)

    run_all(fill, range(len(scales)), torch.get_num_threads())
    return [level for level in found if level is not None]


def resized(pixels: Pixels, scale: float) -> Pixels:
    """Return a copy of an image that is so many times smaller, by bilinear interpolation in whole numbers."""
    height, width = (round(side / scale) for side in pixels.shape[:2])
    if (height, width) == pixels.shape[:2]:
        return pixels
    # Not antialiased: OpenCV's templates were made of such copies, and ours are.
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)


def window_margins(blocks: Floats, template: Tensor, bias: float) -> Floats:
    """Return the (rows, columns) margins of the windows that begin at each block; none where none fits.

    Args:
        blocks: (R, C, D) of a whole image.
        template: (D, rows, columns) float32 on the CPU.
        bias: added to each.
    """
    depth, height, width = template.shape
    rows, columns = blocks.shape[0] - height + 1, blocks.shape[1] - width + 1
    if rows <= 0 or columns <= 0:
        return np.zeros((0, 0), np.float32)
    # Each block of a window is matched with every block of the image in one product, then they are added up:
    # faster than a convolution with one output, and without a copy of the windows.
    with torch.autocast("cpu", enabled=False):
        each = template.permute(1, 2, 0).reshape(-1, depth) @ torch.from_numpy(blocks).reshape(-1, depth).T
    margins = np.full((rows, columns), bias, np.float32)
    add_shifted(each.numpy().reshape(height, width, *blocks.shape[:2]), margins)
    return margins


def matches(
    levels: Sequence[Level], template: Tensor, bias: float, num_levels: int, above: float
) -> Iterator[tuple[Level, NDArray[np.int64], Floats]]:
    """Yield of each level the (N, 2) first blocks and the (N,) margins of windows not below a margin.

    Windows come column after column within a row, row by row.

    Args:
        levels: of an image.
        template: (D, rows, columns) float32 on the CPU.
        bias: of the template.
        num_levels: levels that its window fits in.
        above: lowest margin.
    """
    found = dict[int, tuple[NDArray[np.int64], Floats]]()

    def match(number: int) -> None:
        torch.set_num_threads(1)  # of this thread
        margins = window_margins(levels[number].blocks, template, bias)
        places = np.argwhere(margins >= above)
        found[number] = places, margins[places[:, 0], places[:, 1]]

    with number_kept():
        run_all(match, range(min(num_levels, len(levels))), torch.get_num_threads())
    for number in sorted(found):
        yield levels[number], *found[number]
