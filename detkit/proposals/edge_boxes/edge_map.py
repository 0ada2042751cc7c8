"""Edge map: strength and orientation of the contours of an image, and one made without a trained detector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.runtime.compiled import compiled

Plane = NDArray[np.float32]

_SMOOTHING_PX = 4.0
_FLOOR = 1e-3
"""Where the strongest contours are weaker than this in CIE Lab's hundreds, there are none but noise."""


@dataclass(frozen=True)
class EdgeMap:
    """The contours of one image.

    Attributes:
        magnitude: (H, W) float32 in [0, 1], how sure a contour passes through a pixel.
        orientation: (H, W) float32 in [0, pi), direction across the contour (of the gradient), from the
            x axis towards the y axis, which points down.
    """

    magnitude: Plane
    orientation: Plane

    @staticmethod
    def checked(magnitude: NDArray[np.generic], orientation: NDArray[np.generic] | None = None) -> EdgeMap:
        """Return the edge map for what somebody else's edge detector gave.

        Args:
            magnitude: (H, W), floating in [0, 1] or unsigned integers, whose greatest value becomes 1.
            orientation: (H, W) radians, any turn of pi; None derives it, see `orientation_of`.

        Raises:
            UserError: a shape, type or value is not as above.

        Example:
            >>> EdgeMap.checked(np.full((2, 3), 255, np.uint8)).magnitude.max()
            np.float32(1.0)
        """
        if magnitude.ndim != 2 or magnitude.dtype.kind not in "fu":
            raise UserError(
                "an edge map's magnitude must be (H, W), floating in [0, 1] or unsigned integers; "
                f"this is {magnitude.shape} {magnitude.dtype}"
            )
        greatest = 2 ** (8 * magnitude.dtype.itemsize) - 1 if magnitude.dtype.kind == "u" else 1
        values = (magnitude.astype(np.float64) / greatest).astype(np.float32)
        if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all()):
            raise UserError("an edge map's magnitude must be finite and in [0, 1]; divide it by its maximum")
        if orientation is None:
            return EdgeMap(values, orientation_of(values))
        if orientation.shape != values.shape or orientation.dtype.kind != "f":
            raise UserError(
                f"an edge map's orientation must be floating and {values.shape} like its magnitude; "
                f"this is {orientation.shape} {orientation.dtype}"
            )
        if not np.isfinite(orientation).all():
            raise UserError("an edge map's orientation must be finite, in radians")
        return EdgeMap(values, half_turn(orientation.astype(np.float64)))

    def thinned(self) -> EdgeMap:
        """Return the map with thin contours: what is less than the map beside it, across, becomes 0."""
        return EdgeMap(_thin(self.magnitude, self.orientation), self.orientation)


def half_turn(angles: NDArray[np.float64]) -> Plane:
    """Return directions without a sense, in [0, pi).

    Example:
        >>> half_turn(np.array([0.0, -1.5, 4.0])).round(2)
        array([0.  , 1.64, 0.86], dtype=float32)
    """
    folded = np.mod(angles, math.pi).astype(np.float32)
    return np.where(folded < np.float32(math.pi), folded, np.float32(0))


def orientation_of(magnitude: Plane) -> Plane:
    """Return the direction across contours from their magnitude alone.

    It is that in which the smoothed magnitude bends most: the main axis of its matrix of second derivatives.

    Args:
        magnitude: (H, W) in [0, 1].

    Returns:
        (H, W) radians in [0, pi).

    Example:
        >>> stroke = np.zeros((9, 9), np.float32)
        >>> stroke[4] = 1
        >>> orientation_of(stroke)[4, 4].round(2)  # across a level stroke is down
        np.float32(1.57)
    """
    smooth = cv2.GaussianBlur(
        magnitude.astype(np.float64), (0, 0), _SMOOTHING_PX / 2, borderType=cv2.BORDER_REFLECT
    )
    across = cv2.Sobel(smooth, cv2.CV_64F, 2, 0, borderType=cv2.BORDER_REFLECT)
    down = cv2.Sobel(smooth, cv2.CV_64F, 0, 2, borderType=cv2.BORDER_REFLECT)
    both = cv2.Sobel(smooth, cv2.CV_64F, 1, 1, borderType=cv2.BORDER_REFLECT)
    # Contours are ridges: the second derivative across them is the most negative one.
    return half_turn(0.5 * np.arctan2(-2 * both, down - across))


@dataclass(frozen=True)
class GradientEdges:
    """Edge map of colour gradients at several scales, relative to their surroundings, thinned.

    The gradients of the three CIE Lab channels at all scales are added as tensors (Di Zenzo, "A note on the
    gradient of a multi-image", CVGIP 1986), so that what agrees on a direction adds up. The mean of what is
    around is taken off, which weakens texture (surround suppression; Grigorescu et al., "Contour detection
    based on nonclassical receptive field inhibition", TIP 2003). The attributes are those of
    `GradientEdgesConfig`.
    """

    scales_px: tuple[float, ...]
    surround_px: float
    surround: float
    full_share: float

    def __call__(self, image: NDArray[np.uint8]) -> EdgeMap:
        """Return the contours of an (H, W, 3) RGB image.

        Example:
            >>> step = np.zeros((8, 8, 3), np.uint8)
            >>> step[:, 4:] = 255
            >>> edges = GradientEdges((1.0,), 10.0, 1.0, 0.99)(step)
            >>> edges.magnitude.max(axis=0).round(1).tolist()[:3], float(edges.orientation[4, 4])
            ([0.0, 0.0, 0.0], 0.0)
        """
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) / 100
        across, both, down = np.zeros((3, *image.shape[:2]), dtype=np.float32)
        for scale in self.scales_px:
            smooth = cv2.GaussianBlur(lab, (0, 0), scale, borderType=cv2.BORDER_REFLECT)
            x = cv2.Sobel(smooth, -1, 1, 0, scale=scale / 8, borderType=cv2.BORDER_REFLECT)
            y = cv2.Sobel(smooth, -1, 0, 1, scale=scale / 8, borderType=cv2.BORDER_REFLECT)
            across += (x * x).sum(axis=2)
            both += (x * y).sum(axis=2)
            down += (y * y).sum(axis=2)
        strength = np.sqrt((across + down + np.hypot(across - down, 2 * both)) / 2)
        orientation = half_turn(0.5 * np.arctan2(2 * both, across - down).astype(np.float64))
        return self._scaled(EdgeMap(self._above_surround(strength), orientation).thinned())

    def _above_surround(self, strength: NDArray[np.float32]) -> NDArray[np.float32]:
        around = cv2.GaussianBlur(strength, (0, 0), self.surround_px, borderType=cv2.BORDER_REFLECT)
        above: NDArray[np.float32] = np.maximum(strength - np.float32(self.surround) * around, np.float32(0))
        return above

    def _scaled(self, edges: EdgeMap) -> EdgeMap:
        contours = edges.magnitude[edges.magnitude > 0]
        full = float(np.quantile(contours, self.full_share)) if len(contours) else 0.0
        magnitude = np.minimum(edges.magnitude / np.float32(max(full, _FLOOR)), np.float32(1))
        return EdgeMap(magnitude, edges.orientation)


@compiled
def _thin(magnitude: Plane, orientation: Plane) -> Plane:
    """Keep pixels that are not less than the map 1 and 2 pixels off to both sides across the contour."""
    height, width = magnitude.shape
    thin = np.zeros_like(magnitude)
    for row in range(height):
        for column in range(width):
            value = magnitude[row, column]
            if value <= 0:
                continue
            x, y = np.cos(orientation[row, column]), np.sin(orientation[row, column])
            greatest = True
            for offset in (-2, -1, 1, 2):
                beside = _between(magnitude, row + offset * y, column + offset * x)
                greatest = greatest and value >= beside
            if greatest:
                thin[row, column] = value
    return thin


@compiled
def _between(plane: Plane, y: float, x: float) -> float:
    """Return the value at a point between pixels; beyond the border that of the nearest pixel."""
    height, width = plane.shape
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = (1 - u) * plane[top, left] + u * plane[top, right]
    lower = (1 - u) * plane[bottom, left] + u * plane[bottom, right]
    value: float = (1 - v) * upper + v * lower
    return value
