"""Conversions between box conventions, of (N, 4) boxes in pixels.

- corners: x1 y1 x2 y2, continuous and 0-based;
- VOC: x1 y1 x2 y2, 1-based, the last pixel included;
- COCO: x y width height, continuous and 0-based.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import BoxFormat

Boxes = NDArray[np.float64]


def voc_to_corners(boxes: Boxes) -> Boxes:
    """Return corner boxes for VOC's.

    Example:
        >>> voc_to_corners(np.array([[1.0, 1.0, 2.0, 4.0]]))
        array([[0., 0., 2., 4.]])
    """
    corners: Boxes = boxes - np.array([1.0, 1.0, 0.0, 0.0])
    return corners


def corners_to_voc(boxes: Boxes) -> Boxes:
    """Return VOC's boxes for corner boxes.

    Example:
        >>> corners_to_voc(np.array([[0.0, 0.0, 2.0, 4.0]]))
        array([[1., 1., 2., 4.]])
    """
    inclusive: Boxes = boxes + np.array([1.0, 1.0, 0.0, 0.0])
    return inclusive


def xywh_to_corners(boxes: Boxes) -> Boxes:
    """Return corner boxes for COCO's.

    Example:
        >>> xywh_to_corners(np.array([[1.0, 2.0, 3.0, 4.0]]))
        array([[1., 2., 4., 6.]])
    """
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def corners_to_xywh(boxes: Boxes) -> Boxes:
    """Return COCO's boxes for corner boxes.

    Example:
        >>> corners_to_xywh(np.array([[1.0, 2.0, 4.0, 6.0]]))
        array([[1., 2., 3., 4.]])
    """
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def centred_to_corners(boxes: Boxes) -> Boxes:
    """Return corner boxes for YOLO's centre x, centre y, width, height, (N, 4) each.

    Example:
        >>> centred_to_corners(np.array([[0.5, 0.5, 0.25, 1.0]]))
        array([[0.375, 0.   , 0.625, 1.   ]])
    """
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def to_corners(boxes: Boxes, box_format: BoxFormat) -> Boxes:
    """Return corner boxes for boxes of a source's convention.

    Example:
        >>> to_corners(np.array([[1.0, 1.0, 2.0, 4.0]]), "voc")
        array([[0., 0., 2., 4.]])
    """
    return voc_to_corners(boxes) if box_format == "voc" else xywh_to_corners(boxes)


def from_corners(boxes: Boxes, box_format: BoxFormat) -> Boxes:
    """Return boxes of a source's convention for corner boxes.

    Example:
        >>> from_corners(np.array([[0.0, 0.0, 2.0, 4.0]]), "coco")
        array([[0., 0., 2., 4.]])
    """
    return corners_to_voc(boxes) if box_format == "voc" else corners_to_xywh(boxes)


def points_to_pixels(points: Boxes, box_format: BoxFormat) -> Boxes:
    """Return continuous points, where a pixel's centre is half a pixel from its edge, for those of a source.

    Args:
        points: (..., 2) or more; what follows x and y, such as the visibility, stays.
        box_format: the source's convention: "coco" numbers pixels from 0, "voc" from 1.

    Example:
        >>> points_to_pixels(np.array([[0.0, 7.0, 2.0]]), "coco")
        array([[0.5, 7.5, 2. ]])
    """
    moved = points.copy()
    moved[..., :2] += 0.5 if box_format == "coco" else -0.5
    return moved


def points_from_pixels(points: Boxes, box_format: BoxFormat) -> Boxes:
    """Return points of a source's convention for continuous ones; see `points_to_pixels`.

    Example:
        >>> points_from_pixels(np.array([[0.5, 7.5]]), "coco")
        array([[0., 7.]])
    """
    moved = points.copy()
    moved[..., :2] -= 0.5 if box_format == "coco" else -0.5
    return moved


def points_as(points: Boxes, box_format: BoxFormat, wanted: BoxFormat) -> Boxes:
    """Return points in another source's convention, untouched (to the last bit) where they already are.

    Example:
        >>> points_as(np.array([[1.0, 4.0, 2.0]]), "voc", "coco")
        array([[0., 3., 2.]])
    """
    if box_format == wanted:
        return np.ascontiguousarray(points, np.float64)
    return points_from_pixels(points_to_pixels(points, box_format), wanted)


PIXEL_DECIMALS = 8
FRACTION_DECIMALS = 14
"""Decimals of coordinates that are written in another convention than they were read in.

A fraction times a side of up to 100,000 px is off by less than half of the last decimal of a pixel. So pixels
of up to 8 decimals come back from fractions as they were, and fractions of up to 7 decimals from pixels.
"""


def pixels(boxes: Boxes) -> Boxes:
    """Return boxes or areas in pixels as files hold them: without the noise of the calculation.

    Example:
        >>> pixels(np.array([[0.1 + 0.2, 236.99999999998, 1 / 3, 5]]))
        array([[  0.3       , 237.        ,   0.33333333,   5.        ]])
    """
    return np.round(boxes, PIXEL_DECIMALS)


def fractions_of(corners: Boxes, sizes: NDArray[np.int32]) -> Boxes:
    """Return YOLO's centre x, centre y, width, height of corner boxes, as files hold them.

    Args:
        corners: (N, 4).
        sizes: (N, 2) height and width of each box's image.

    Example:
        >>> fractions_of(np.array([[0.0, 0.0, 2.0, 4.0]]), np.array([[8, 3]])).tolist()
        [[0.33333333333333, 0.25, 0.66666666666667, 0.5]]
    """
    middle, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return np.round(np.concatenate([middle, sides], axis=1) / np.tile(sizes[:, ::-1], 2), FRACTION_DECIMALS)


def boxes_as(boxes: Boxes, box_format: BoxFormat, wanted: BoxFormat) -> Boxes:
    """Return boxes in another source's convention, untouched (to the last bit) where they already are.

    Example:
        >>> boxes_as(np.array([[1.0, 1.0, 2.0, 4.0]]), "voc", "coco")
        array([[0., 0., 2., 4.]])
    """
    if box_format == wanted:
        return np.ascontiguousarray(boxes, np.float64)
    return from_corners(to_corners(boxes, box_format), wanted)
