"""Text on pictures: chips with a coloured background that stay inside the image and off each other."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.report.colours import RGB, ink_on

Image = NDArray[np.uint8]
WEIGHT = 500


@dataclass(frozen=True)
class Rectangle:
    """Pixels from (left, top) to before (left + width, top + height)."""

    left: int
    top: int
    width: int
    height: int

    def overlaps(self, other: Rectangle) -> bool:
        """Return whether the two have a pixel in common."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


class Lettering:
    """Writes chips on one image and remembers where they lie.

    Args:
        image: (H, W, 3) uint8 RGB, changed in place.
        size_px: height of the letters.
    """

    def __init__(self, image: Image, size_px: int) -> None:
        self.image = image
        self.size_px = size_px
        self.face = cv2.FontFace("sans")
        self.taken: list[Rectangle] = []

    def measure(self, text: str) -> tuple[int, int]:
        """Return width and height of the chip that `text` needs, in pixels."""
        _, _, width, _ = cv2.getTextSize((8192, 8192), text, (0, 4096), self.face, self.size_px, WEIGHT)
        return int(width) + 2 * self._pad, round(1.25 * self.size_px) + 2 * (self._pad // 2)

    def label_box(self, text: str, box: tuple[int, int, int, int], colour: RGB) -> None:
        """Write a chip at a box: above it, inside, below, or wherever it hides no other chip.

        Args:
            text: what to write; nothing happens when it is empty.
            box: x1 y1 x2 y2 in pixels.
            colour: background of the chip.
        """
        if not text:
            return
        left, top, right, bottom = box
        width, height = self.measure(text)
        places = [(left, top - height), (left, top), (right - width, top - height), (left, bottom)]
        fitted = [self._inside(Rectangle(x, y, width, height)) for x, y in places]
        free = [spot for spot in fitted if not any(spot.overlaps(other) for other in self.taken)]
        self.chip(text, (free or fitted)[0], colour)

    def chip(self, text: str, spot: Rectangle, colour: RGB) -> None:
        """Fill a rectangle and write in it."""
        self.taken.append(spot)
        corner = (spot.left + spot.width - 1, spot.top + spot.height - 1)
        cv2.rectangle(self.image, (spot.left, spot.top), corner, colour, cv2.FILLED)
        baseline = spot.top + spot.height // 2 + round(0.36 * self.size_px)
        origin = (spot.left + self._pad, baseline)
        cv2.putText(self.image, text, origin, ink_on(colour), self.face, self.size_px, WEIGHT)

    def line(self, text: str, left: int, top: int, width: int, colour: RGB) -> None:
        """Write a line of at most `width` pixels; what is too long loses its beginning."""
        shown = text
        while len(shown) > 1 and self.measure(shown)[0] > width:
            shown = "…" + shown[2:]
        self.chip(shown, Rectangle(left, top, *self.measure(shown)), colour)

    @property
    def _pad(self) -> int:
        return max(2, round(0.3 * self.size_px))

    def _inside(self, spot: Rectangle) -> Rectangle:
        height, width = self.image.shape[:2]
        left = max(0, min(spot.left, width - spot.width))
        top = max(0, min(spot.top, height - spot.height))
        return Rectangle(left, top, spot.width, spot.height)
