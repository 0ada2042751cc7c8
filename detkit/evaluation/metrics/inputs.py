"""What goes into an evaluation: checked once, in the metric's own box convention."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import from_corners, to_corners
from detkit.annotations.dataset import AnnotationSet, BoxFormat, DetectionSet
from detkit.errors import UserError


def check_pair(truth: AnnotationSet, found: DetectionSet) -> None:
    """Refuse detections that cannot belong to these annotations.

    Raises:
        UserError: the box conventions differ, or an image index, class index, score or box is
            outside what the annotations allow.
    """
    if truth.box_format != found.box_format:
        raise UserError(
            f"detections hold {found.box_format!r} boxes and annotations {truth.box_format!r}; "
            "convert the detections with detkit.annotations.coordinates"
        )
    for name, index, size in (
        ("image", found.images, truth.num_images),
        ("label", found.labels, len(truth.classes)),
    ):
        if len(index) and not (index.min() >= 0 and index.max() < size):
            row = int(np.argmax((index < 0) | (index >= size)))
            raise UserError(f"detection {row}: {name} must be in [0, {size}), got {index[row]}")
    for name, values in (("score", found.scores), ("box", found.boxes)):
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise UserError(f"detection {row}: {name} must be finite, got {values[row]}")


def boxes_as(boxes: NDArray[np.float64], box_format: BoxFormat, wanted: BoxFormat) -> NDArray[np.float64]:
    """Return boxes in the metric's convention, untouched (to the last bit) where they already are.

    This is the only place where evaluation converts: VOC annotations scored by COCO's rules, COCO
    annotations scored by VOC's.

    Args:
        boxes: (N, 4) float64.
        box_format: convention of `boxes`.
        wanted: convention of the result.

    Example:
        >>> boxes_as(np.array([[1.0, 1.0, 2.0, 4.0]]), "voc", "coco")
        array([[0., 0., 2., 4.]])
    """
    if box_format == wanted:
        return np.ascontiguousarray(boxes, np.float64)
    return from_corners(to_corners(boxes, box_format), wanted)
