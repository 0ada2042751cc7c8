"""HOG as Dalal and Triggs describe people: normalised histograms of the gradients in overlapping blocks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.ops.kernels.hog_loops import block_histograms, normalise_blocks, strongest_gradients

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class HOG:
    """The descriptor's parameters, those of the paper and of OpenCV's detectors unless said otherwise.

    Attributes:
        cell_px: side of a cell in pixels.
        block_cells: cells along a side of a block, which is normalised as a whole.
        stride_px: pixels from block to block; windows move by it, too.
        bins: orientations of a cell.
        signed: whether opposite directions of a gradient are two, so that bins divide the whole circle.
        gamma: take the square root of pixel values first.
        sigma_px: deviation of the Gaussian that weights the pixels of a block; OpenCV takes a quarter of
            the block's side, the paper half.
        clip: largest value of a normalised block, which is normalised once more.

    Reference: Dalal & Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005.
    """

    cell_px: int = 8
    block_cells: int = 2
    stride_px: int = 8
    bins: int = 9
    signed: bool = False
    gamma: bool = True
    sigma_px: float = 4.0
    clip: float = 0.2

    @property
    def block_px(self) -> int:
        """Side of a block in pixels."""
        return self.block_cells * self.cell_px

    @property
    def block_size(self) -> int:
        """Values of a block."""
        return self.block_cells**2 * self.bins

    def num_blocks(self, length_px: int) -> int:
        """Return how many blocks lie along a side of so many pixels.

        Example:
            >>> HOG().num_blocks(64), HOG().num_blocks(128)
            (7, 15)
        """
        return max((length_px - self.block_px) // self.stride_px + 1, 0)

    def length_px(self, num_blocks: int) -> int:
        """Return the pixels along a side of so many blocks."""
        return (num_blocks - 1) * self.stride_px + self.block_px


def hog_blocks(pixels: Pixels, hog: HOG, padding_px: int = 0) -> Floats:
    """Return the normalised blocks of a whole image, which windows of any size share.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        hog: the parameters.
        padding_px: blocks begin so far outside the image, which is mirrored there (the outermost pixel is not
            repeated); -1 leaves out the outermost pixel, whose gradient is not known.

    Returns:
        (rows, columns, D) blocks. The D values are those of its cells, column by column, and of these those
        of their bins, as OpenCV has them.

    Example:
        >>> hog_blocks(np.zeros((128, 64, 3), np.uint8), HOG()).shape
        (15, 7, 36)
    """
    around = padding_px + 1
    if around:
        mirrored = cv2.copyMakeBorder(pixels, around, around, around, around, cv2.BORDER_REFLECT_101)
        pixels = np.asarray(mirrored, np.uint8)
    height, width = pixels.shape[0] - 2, pixels.shape[1] - 2
    shape = hog.num_blocks(height), hog.num_blocks(width), hog.block_cells, hog.block_cells, hog.bins
    blocks = np.empty(shape, np.float32)
    if blocks.size:
        # In floating point as a whole: a table of 256 values would be read element by element.
        planes = [channel.astype(np.float32) for channel in cv2.split(pixels)]
        red, green, blue = [np.sqrt(plane, out=plane) for plane in planes] if hog.gamma else planes
        dx, dy = np.empty((2, height, width), np.float32)
        strongest_gradients(red, green, blue, dx, dy)
        magnitude, angle = cv2.cartToPolar(dx, dy)
        block_histograms(magnitude, angle, hog.bins, hog.signed, _weights(hog), hog.stride_px, blocks)
    flat = blocks.reshape(*shape[:2], hog.block_size)
    normalise_blocks(flat.reshape(-1, hog.block_size), np.float32(hog.clip))
    return flat


def _weights(hog: HOG) -> Floats:
    """Return (n, B): of each pixel along a block's side the share in each cell, times the Gaussian.

    Shares fall off from the middle of a cell to those of its neighbours. The Gaussian stands between the
    middle pixels, and is measured from the near corner of each pixel, as OpenCV does.
    """
    place = np.arange(hog.block_px)
    cell = (place + 0.5) / hog.cell_px - 0.5
    share = np.maximum(1 - np.abs(cell - np.arange(hog.block_cells)[:, None]), 0)
    gauss = np.exp(-((place - hog.block_px / 2) ** 2) / (2 * hog.sigma_px**2))
    weights: Floats = (share * gauss).astype(np.float32)
    return weights
