"""Windows cut out of an image, as its pyramid has them: around objects, or anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.models.hog.descriptor import Pixels
from detkit.models.hog.pyramid import Size


def cut(pixels: Pixels, corner: NDArray[np.float64], scale: float, window: Size) -> Pixels:
    """Return a window of an image as the pyramid has it, with a pixel around it.

    Args:
        pixels: (H, W, 3) uint8; mirrored where the window reaches over it.
        corner: x and y of the window in the image, in pixels.
        scale: pixels of the image that one of the window is wide.
        window: (height, width) in pixels.
    """
    first = corner - scale + 0.5 * scale - 0.5  # middle of the pixel around the window
    matrix = np.array([[scale, 0, first[0]], [0, scale, first[1]]])
    height, width = window
    warped = cv2.warpAffine(
        pixels,
        matrix,
        (width + 2, height + 2),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(warped, np.uint8)


@dataclass(frozen=True)
class Windows:
    """Where windows lie in an image.

    Attributes:
        corners: (N, 2) x and y in pixels of the image.
        scales: (N,) pixels of the image that one of a window is wide.
    """

    corners: NDArray[np.float64]
    scales: NDArray[np.float64]

    def objects(self, window: Size, context_px: int) -> NDArray[np.float64]:
        """Return the (N, 4) boxes of objects in windows of (height, width) pixels, without their context."""
        scales = self.scales[:, None]
        first = self.corners + context_px * scales
        return np.concatenate([first, first + (np.array(window[::-1]) - 2 * context_px) * scales], axis=1)


def windows_around(boxes: NDArray[np.floating], window: Size, context_px: int) -> Windows:
    """Return the windows in whose middle objects lie.

    An object's side is that of the window's object along the window's longer side: that of a person that
    varies least, however the arms are held.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        window: (height, width) in pixels.
        context_px: pixels of the window around the object, on every side.
    """
    inner = np.array(window[::-1]) - 2 * context_px  # width, height
    along = int(np.argmax(inner))
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1).astype(np.float64)
    scales = sides[:, along] / inner[along]
    centres = (boxes[:, :2] + boxes[:, 2:]).astype(np.float64) / 2
    return Windows(centres - scales[:, None] * np.array(window[::-1]) / 2, scales)
