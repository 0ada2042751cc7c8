"""Edge map from the gradients of colours, without a trained detector."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.proposals.edge_boxes.edge_map import EdgeMap, half_turn

_FLOOR = 1e-3
"""Where the strongest contours are weaker than this in CIE Lab's hundreds, there are none but noise."""


@dataclass(frozen=True)
class GradientEdges:
    """Edge map of colour gradients at several scales, relative to their surroundings, thinned.

    The gradients of the three CIE Lab channels at all scales are added as tensors (Di Zenzo, "A note on the
    gradient of a multi-image", CVGIP 1986), so that what agrees on a direction adds up. The mean of what is
    around is taken off, which weakens texture (surround suppression; Grigorescu et al., "Contour detection
    based on nonclassical receptive field inhibition", TIP 2003).

    Attributes:
        scales_px: standard deviations of the Gaussians that smooth the image.
        surround_px: standard deviation of the Gaussian that takes the mean of what is around.
        surround: how much of it is taken off; 0 is none.
        full_share: this fraction of the contour pixels gets less than the full magnitude of 1.
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
