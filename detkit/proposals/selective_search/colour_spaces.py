"""The colour spaces in which selective search segments and compares regions, as planes of bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

ColourName = Literal["hsv", "lab", "rgi", "hue", "intensity", "rgb"]


@dataclass(frozen=True)
class ColourPlanes:
    """An image in some colour space.

    Attributes:
        planes: (C, H, W) uint8, C contiguous.
        copies: how often the method counts each plane. One plane that the paper's code repeats three
            times is held once: histograms of three equal planes, normalised, intersect as one does, and
            distances are √3 times those of one.
    """

    planes: NDArray[np.uint8]
    copies: int = 1


@compiled
def fill_hsv(image: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """Fill (3, H, W) with hue, saturation and value of (H, W, 3) RGB, all from 0 to 255.

    The authors compute in [0, 1] and round at last. Many colours lie just between two bytes, and only the
    same operations on the same numbers round them the same way.
    """
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            red, green, blue = image[y, x, 0] / 255.0, image[y, x, 1] / 255.0, image[y, x, 2] / 255.0
            value = max(red, green, blue)
            chroma = value - min(red, green, blue)
            hue = 0.0
            if chroma > 0.0:
                if value == red:
                    hue = (green - blue) / chroma
                elif value == green:
                    hue = 2.0 + (blue - red) / chroma
                else:
                    hue = 4.0 + (red - green) / chroma
                hue = hue / 6.0 + (1.0 if hue < 0.0 else 0.0)
            planes[0, y, x] = np.uint8(hue * 255.0 + 0.5)
            planes[1, y, x] = np.uint8(chroma / value * 255.0 + 0.5 if value > 0.0 else 0.0)
            planes[2, y, x] = np.uint8(value * 255.0 + 0.5)


@compiled
def fill_intensity(image: NDArray[np.uint8], plane: NDArray[np.uint8]) -> None:
    """Fill (H, W) with the luma of (H, W, 3) RGB.

    The weights are the first row of the inverse of NTSC's YIQ matrix, as MATLAB has them: those of
    ITU-R BT.601 with more digits, on which the rounding of some colours depends.
    """
    red, green, blue = 0.298936021293775, 0.587043074451121, 0.114020904255103
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            luma = red * image[y, x, 0] + green * image[y, x, 1] + blue * image[y, x, 2]
            plane[y, x] = np.uint8(min(luma + 0.5, 255.0))


@compiled
def fill_chromaticity(image: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """Fill (2, H, W) with red and green as fractions of R + G + B, stretched over the image to 0 to 255.

    A black pixel has a third of each. A share that is the same everywhere becomes 0.
    """
    shares = np.empty(2)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for stretch in (False, True):
        for y in range(image.shape[0]):
            for x in range(image.shape[1]):
                total = image[y, x, 0] / 255.0 + image[y, x, 1] / 255.0 + image[y, x, 2] / 255.0
                for c in range(2):
                    shares[c] = (image[y, x, c] / 255.0) / total if total > 0.0 else 1.0 / 3.0
                    if not stretch:
                        low[c], high[c] = min(low[c], shares[c]), max(high[c], shares[c])
                    elif high[c] > low[c]:
                        planes[c, y, x] = np.uint8((shares[c] - low[c]) / (high[c] - low[c]) * 255.0 + 0.5)
                    else:
                        planes[c, y, x] = np.uint8(0)


def _planes(image: NDArray[Any]) -> ColourPlanes:
    return ColourPlanes(np.ascontiguousarray(np.moveaxis(image, -1, 0)))


def to_hsv(image: NDArray[np.uint8]) -> ColourPlanes:
    """Return hue, saturation and value, each over the whole range of a byte.

    Example:
        >>> to_hsv(np.array([[[0, 255, 255]]], np.uint8)).planes.ravel()  # hue 180 of 360 degrees
        array([128, 255, 255], dtype=uint8)
    """
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    fill_hsv(image, planes)
    return ColourPlanes(planes)


def to_lab(image: NDArray[np.uint8]) -> ColourPlanes:
    """Return CIE Lab of sRGB with white D65: lightness times 2.55, a and b plus 128.

    Example:
        >>> to_lab(np.full((1, 1, 3), 255, np.uint8)).planes.ravel()
        array([255, 128, 128], dtype=uint8)
    """
    return _planes(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))


def to_rgi(image: NDArray[np.uint8]) -> ColourPlanes:
    """Return the shares of red and green in the colour, stretched over the image, and the intensity.

    Example:
        >>> pixels = np.array([[[90, 0, 0], [0, 90, 0], [30, 30, 30]]], np.uint8)
        >>> to_rgi(pixels).planes[0]
        array([[255,   0,  85]], dtype=uint8)
    """
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    fill_chromaticity(image, planes[:2])
    fill_intensity(image, planes[2])
    return ColourPlanes(planes)


def to_hue(image: NDArray[np.uint8]) -> ColourPlanes:
    """Return the hue, which counts three times.

    Example:
        >>> to_hue(np.array([[[0, 0, 200]]], np.uint8)).planes.ravel()  # 240 of 360 degrees
        array([170], dtype=uint8)
    """
    return ColourPlanes(to_hsv(image).planes[:1], copies=3)


def to_intensity(image: NDArray[np.uint8]) -> ColourPlanes:
    """Return the intensity, which counts three times.

    Example:
        >>> to_intensity(np.array([[[0, 255, 0]]], np.uint8)).planes.ravel()
        array([150], dtype=uint8)
    """
    planes = np.empty((1, *image.shape[:2]), np.uint8)
    fill_intensity(image, planes[0])
    return ColourPlanes(planes, copies=3)


def to_rgb(image: NDArray[np.uint8]) -> ColourPlanes:
    """Return the image's own colours.

    Example:
        >>> to_rgb(np.array([[[1, 2, 3]]], np.uint8)).planes.ravel()
        array([1, 2, 3], dtype=uint8)
    """
    return _planes(image)


COLOUR_SPACES: dict[ColourName, Callable[[NDArray[np.uint8]], ColourPlanes]] = {
    "hsv": to_hsv,
    "lab": to_lab,
    "rgi": to_rgi,
    "hue": to_hue,
    "intensity": to_intensity,
    "rgb": to_rgb,
}
"""The spaces of the paper. Every function takes (H, W, 3) uint8 RGB, C contiguous."""


def to_opencv(image: NDArray[np.uint8], name: ColourName) -> ColourPlanes:
    """Return what OpenCV's selective search works on, where it differs from the paper.

    Hue runs to 180 only, red and green are not divided by their sum, single planes count once, and what
    its code calls hue is the blue channel: the hue plane's memory is overwritten before it is used.

    Args:
        image: (H, W, 3) uint8 RGB.
        name: a space of the paper.

    Example:
        >>> to_opencv(np.array([[[0, 0, 200]]], np.uint8), "hsv").planes.ravel()
        array([120, 255, 200], dtype=uint8)
    """
    if name == "hsv":
        return _planes(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    if name == "intensity":
        return _planes(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None])
    if name == "hue":
        return _planes(image[..., 2:])
    if name == "rgi":
        return _planes(np.dstack((image[..., :2], cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))))
    return COLOUR_SPACES[name](image)
