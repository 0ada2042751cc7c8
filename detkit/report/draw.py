"""Boxes and labels drawn on images, two sets of boxes together, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError, cut
from detkit.names import one_line
from detkit.report.colours import RGB, class_colour, ink_on
from detkit.storage.atomic import write_atomically

Boxes = NDArray[Any]

ANCHOR: RGB = (34, 211, 238)
REGION: RGB = (250, 204, 21)
TRUTH: RGB = (255, 255, 255)
SHEET: RGB = (32, 33, 36)

Image = NDArray[np.uint8]
WEIGHT = 500
LONGEST_TEXT = 100  # letters
_BAND_PX = 1024
_ROUNDING_PX = 1.5
HIDDEN_SHARE = 0.1  # of another box, which a label may hide


def draw_detections(
    image: Image,
    boxes: Boxes,
    labels: NDArray[Any],
    scores: NDArray[Any],
    classes: Sequence[str],
    *,
    labelled: Boxes | None = None,
    parts: Boxes | None = None,
    keypoints: Boxes | None = None,
    skeleton: Sequence[tuple[int, int]] = (),
    weight: float = 1.0,
) -> Image:
    """Return a copy of an image with each detection's box, class and score.

    Where boxes crowd, labels shorten to the score, and the least certain may have none: a box has the colour
    of its class.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x1 y1 x2 y2 in pixels.
        labels: (N,) class indices.
        scores: (N,) scores; lower ones are drawn first and end up below.
        classes: names that the labels point to.
        labelled: (M, 4) boxes of the ground truth, dashed in white below the detections.
        parts: (N, P, 4) boxes of each detection's parts, thin and of its colour, below all detections.
        keypoints: (N, P, 2) x and y of each detection's key points, dots of its colour.
        skeleton: pairs of places among the key points that a line joins.
        weight: multiplies the thickness of lines and the size of letters.
    """
    order = np.argsort(scores, kind="stable")
    colours = [class_colour(int(label)) for label in labels]
    drawn = image.copy()
    for box in () if labelled is None else labelled:
        _dashed(drawn, _corners(box), line_width(image, weight))
    width = line_width(image, weight)
    if parts is not None:
        of_part = [colours[i] for i in order for _ in parts[i]]
        _outline(drawn, parts[order].reshape(-1, 4), of_part, max(1, width // 2))
    _outline(drawn, boxes[order], [colours[i] for i in order], width)
    if keypoints is not None:
        for i in order:
            _dots(drawn, keypoints[i], colours[i], 1.5 * width, skeleton)
    drawing = LabelDrawing(drawn, letter_size(image, weight), boxes)
    for i in order[::-1]:
        score = f"{float(scores[i]):.2f}"
        drawing.label_box((f"{classes[int(labels[i])]} {score}", score), _corners(boxes[i]), colours[i])
    return drawn


def draw_targets(
    image: Image,
    boxes: Boxes,
    labels: NDArray[Any],
    classes: Sequence[str],
    *,
    anchors: Boxes | None = None,
    regions: Boxes | None = None,
    keypoints: Boxes | None = None,
) -> Image:
    """Return a copy of an image with its ground truth, as training sees them.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x1 y1 x2 y2 in pixels.
        labels: (N,) class indices.
        classes: names that the labels point to.
        anchors: (A, 4) anchors to draw thin and turquoise, such as those that match an object.
        regions: (R, 4) sampled regions to draw thin and yellow.
        keypoints: (N, P, 3) key points, dots of the class's colour; those of visibility 0 are left out.
    """
    drawn = image.copy()
    key: list[tuple[str, RGB]] = []
    for thin, name, colour in ((anchors, "anchors", ANCHOR), (regions, "regions", REGION)):
        if thin is not None and len(thin):
            _outline(drawn, thin, [colour] * len(thin), 1)
            key.append((f"{len(thin)} {name}", colour))
    colours = [class_colour(int(label)) for label in labels]
    _outline(drawn, boxes, colours, line_width(image))
    for points, colour in () if keypoints is None else zip(keypoints, colours, strict=True):
        _dots(drawn, points[points[:, 2] > 0, :2], colour, 1.5 * line_width(image))
    drawing = LabelDrawing(drawn, letter_size(image), boxes)
    height, width = image.shape[:2]
    for row, (text, colour) in enumerate(reversed(key), start=1):
        drawing.line(text, 0, height - row * drawing.measure(text)[1], width, colour)
    for box, label, colour in zip(boxes, labels, colours, strict=True):
        drawing.label_box((classes[int(label)],), _corners(box), colour)
    return drawn


def tile_images(
    images: Sequence[Image], columns: int, *, captions: Sequence[str], cell_px: int = 480
) -> Image:
    """Return one image with all images in a grid, each scaled to fit a square cell.

    Args:
        images: (H, W, 3) uint8 RGB, of any sizes.
        columns: cells in a row.
        captions: a line below each image.
        cell_px: side of a cell.

    Returns:
        (H, W, 3) uint8; an empty dark cell when there are no images.
    """
    gap = max(4, cell_px // 40)
    line_px = round(cell_px / 12)
    columns = max(1, min(columns, len(images)))
    fitted = [fit(image, cell_px) for image in images]
    rows = [range(first, min(first + columns, len(images))) for first in range(0, len(images), columns)]
    heights = [max(fitted[i].shape[0] for i in row) for row in rows] or [cell_px]
    height = gap + sum(tallest + line_px + gap for tallest in heights)
    sheet = np.full((height, columns * (cell_px + gap) + gap, 3), SHEET, dtype=np.uint8)
    drawing = LabelDrawing(sheet, max(9, cell_px // 24))
    top = gap
    for row, tallest in zip(rows, heights, strict=False):
        for i in row:
            height, width = fitted[i].shape[:2]
            left = gap + (i - row.start) * (cell_px + gap)
            y, x = top + (tallest - height) // 2, left + (cell_px - width) // 2
            sheet[y : y + height, x : x + width] = fitted[i]
            drawing.line(captions[i], left, top + tallest, cell_px, SHEET)
        top += tallest + line_px + gap
    return sheet


def fit(image: Image, side_px: int) -> Image:
    """Return the image scaled so that its longer side is `side_px`."""
    height, width = image.shape[:2]
    scale = side_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cast(Image, cv2.resize(image, size, interpolation=method))


def line_width(image: Image, weight: float = 1.0) -> int:
    """Return how thick a box's line is to be, in pixels, for an image of this size."""
    return max(1, round(weight * sum(image.shape[:2]) / 560))


def letter_size(image: Image, weight: float = 1.0) -> int:
    """Return how high letters are to be, in pixels, for an image of this size."""
    return int(np.clip(round(weight * sum(image.shape[:2]) / 85), 10, 48))


def _outline(image: Image, boxes: Boxes, colours: Sequence[RGB], width: int) -> None:
    """Draw boxes in place, with a faint dark seam so that they stand out on any ground."""
    for top in range(0, len(image), _BAND_PX):  # a copy of a whole large image would not fit
        band = image[top : top + _BAND_PX]
        seam = band.copy()
        for box in boxes:
            x1, y1, x2, y2 = _corners(box)
            cv2.rectangle(seam, (x1, y1 - top), (x2, y2 - top), (0, 0, 0), width + 2)
        cv2.addWeighted(seam, 0.35, band, 0.65, 0, dst=band)
    for box, colour in zip(boxes, colours, strict=True):
        x1, y1, x2, y2 = _corners(box)
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, width)


def _dots(
    image: Image, points: Boxes, colour: RGB, radius: float, skeleton: Sequence[tuple[int, int]] = ()
) -> None:
    """Draw (P, 2) points and their lines in place, with a dark rim so that they stand out on any ground."""
    near = np.clip(np.asarray(points, dtype=np.float64), -1e6, 1e6)
    centres: list[tuple[int, int]] = [(x, y) for x, y in np.floor(near).astype(int).tolist()]
    for start, end in skeleton:
        for thick, paint in ((round(radius) + 2, (0, 0, 0)), (max(1, round(radius / 2)), colour)):
            cv2.line(image, centres[start], centres[end], paint, thick, cv2.LINE_AA)
    for centre in centres:
        for size, paint in ((round(radius) + 2, (0, 0, 0)), (round(radius) + 1, colour)):
            cv2.circle(image, centre, size, paint, cv2.FILLED, cv2.LINE_AA)


def _dashed(image: Image, corners: tuple[int, int, int, int], width: int) -> None:
    x1, y1, x2, y2 = corners
    dash = 5 * width + 2
    sides = (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x1, y2), (x2, y2)), ((x1, y1), (x1, y2)))
    for colour, thick in (((0, 0, 0), width + 2), (TRUTH, width)):
        for start, end in sides:
            along = np.subtract(end, start)
            length = int(np.abs(along).sum())
            for begin in range(0, max(length, 1), 2 * dash):
                part = np.array([begin, min(begin + dash, length)]) / max(length, 1)
                (ax, ay), (bx, by) = (np.asarray(start) + part[:, None] * along).round().astype(int).tolist()
                cv2.line(image, (ax, ay), (bx, by), colour, thick)


def _corners(box: NDArray[Any]) -> tuple[int, int, int, int]:
    """Return the first and last pixel that a continuous box covers."""
    x1, y1, x2, y2 = np.clip(np.asarray(box, dtype=np.float64), -1e6, 1e6).tolist()
    left, top = int(np.floor(x1)), int(np.floor(y1))
    return left, top, max(left, int(np.ceil(x2)) - 1), max(top, int(np.ceil(y2)) - 1)


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


class LabelDrawing:
    """Labels drawn on one image, chips that stay off each other and hide little of other boxes.

    Args:
        image: (H, W, 3) uint8 RGB, changed in place.
        size_px: height of the letters.
        boxes: (N, 4) x1 y1 x2 y2 in pixels, of all objects to be labelled.
    """

    def __init__(self, image: Image, size_px: int, boxes: Boxes | None = None) -> None:
        self.image = image
        self.size_px = size_px
        self.boxes = np.zeros((0, 4)) if boxes is None else np.asarray(boxes, dtype=np.float64)
        self.face = cv2.FontFace("sans")
        self.taken: list[Rectangle] = []

    def measure(self, text: str) -> tuple[int, int]:
        """Return width and height of the chip that `text` needs, in pixels."""
        _, _, width, _ = cv2.getTextSize((8192, 8192), text, (0, 4096), self.face, self.size_px, WEIGHT)
        return int(width) + 2 * self._pad, round(1.25 * self.size_px) + 2 * (self._pad // 2)

    def label_box(self, texts: Sequence[str], box: tuple[int, int, int, int], colour: RGB) -> None:
        """Write a chip at a box, where it lies on no other chip and hides little of other boxes.

        Args:
            texts: what to write, the shorter the later: the first that has such a place, or else the last
                where it hides least. Nothing is written where every place has a chip.
            box: x1 y1 x2 y2 in pixels.
            colour: background of the chip.
        """
        for shorter, full in enumerate(texts, start=1):
            text = cut(one_line(full), LONGEST_TEXT)
            spots = self._places(box, *self.measure(text))
            hidden = np.maximum([self._hidden(spot, box) for spot in spots], HIDDEN_SHARE)
            best = int(np.argmin(hidden))
            most = np.inf if shorter == len(texts) else np.nextafter(HIDDEN_SHARE, 1)
            if text and hidden[best] < most:
                self.chip(text, spots[best], colour)
                return

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
        shown = one_line(text)[-2 * LONGEST_TEXT :]
        while len(shown) > 1 and self.measure(shown)[0] > width:
            shown = "…" + shown[2:]
        self.chip(shown, Rectangle(left, top, *self.measure(shown)), colour)

    def _places(self, box: tuple[int, int, int, int], width: int, height: int) -> list[Rectangle]:
        """Return places for a chip, the best first: above the box, inside at its edges, below it."""
        left, top, right, bottom = box
        rows = (top - height, top, bottom + 1 - height, bottom + 1)
        corners = [(x, y) for y in rows for x in (left, right + 1 - width)]
        return [self._inside(Rectangle(x, y, width, height)) for x, y in corners]

    def _hidden(self, spot: Rectangle, own: tuple[int, int, int, int]) -> float:
        """Return the largest share of another box that a chip would hide; infinite on another chip."""
        if any(spot.overlaps(other) for other in self.taken):
            return np.inf
        others = self.boxes[np.abs(self.boxes - own).max(axis=1) > _ROUNDING_PX]
        low = np.maximum(others[:, :2], (spot.left, spot.top))
        high = np.minimum(others[:, 2:], (spot.left + spot.width, spot.top + spot.height))
        areas = np.maximum(others[:, 2:] - others[:, :2], 1.0).prod(axis=1)
        return float((np.maximum(high - low, 0.0).prod(axis=1) / areas).max(initial=0.0))

    @property
    def _pad(self) -> int:
        return max(2, round(0.3 * self.size_px))

    def _inside(self, spot: Rectangle) -> Rectangle:
        height, width = self.image.shape[:2]
        left = max(0, min(spot.left, width - spot.width))
        top = max(0, min(spot.top, height - spot.height))
        return Rectangle(left, top, spot.width, spot.height)


def write_image(file: Path, image: Image) -> None:
    """Write (H, W, 3) uint8 RGB pixels as JPEG or PNG, by the file's extension; folders are made as needed.

    Raises:
        UserError: the file cannot be written.
    """
    # OpenCV's own writing of files crashes where a name is not UTF-8.
    write_atomically(file, encoded(file.suffix, image), sync=False)


def encoded(ending: str, image: Image) -> bytes:
    """Return the content of an image file, .jpg or .png, of (H, W, 3) uint8 RGB pixels.

    Raises:
        UserError: the image could not be encoded.
    """
    done, content = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise UserError(f"the image could not be encoded as {ending}")
    return content.tobytes()
