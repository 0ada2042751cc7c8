"""Average precision by the rules of ILSVRC's detection task, which asks less of small objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import boxes_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.curves import area_ap, curves_by_class, mean_known
from detkit.evaluation.metrics.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    MatchRecords,
    check_pair,
    matches_of_classes,
)
from detkit.evaluation.metrics.score_order import objects_by_image
from detkit.evaluation.metrics.voc import inclusive_iou
from detkit.runtime.compiled import compiled

MARGIN_PX = 10
"""By how much annotators may differ in the width and in the height of an object."""


@dataclass(frozen=True)
class IlsvrcResult:
    """Average precision of K classes.

    Attributes:
        classes: K names.
        ap: (K,) float64, the area under the interpolated curve; NaN without objects.
        records: what became of each box, in a column for the IoU of large objects.
    """

    classes: tuple[str, ...]
    ap: NDArray[np.float64]
    records: MatchRecords

    @property
    def mean(self) -> float:
        """Mean of `ap` over the classes that have objects; NaN if none has."""
        return mean_known(self.ap)


def wanted_iou(boxes: NDArray[np.float64], iou: float = 0.5) -> NDArray[np.float64]:
    """Return the IoU from which each object counts as found.

    Args:
        boxes: (M, 4) boxes whose last pixel belongs to them.
        iou: what is asked of large objects.

    Returns:
        (M,) w h / ((w + 10) (h + 10)), at most `iou`; it is less for objects below about 25 x 25 pixels.

    Example:
        >>> wanted_iou(np.array([[1.0, 1, 10, 10], [1, 1, 100, 100]]))
        array([0.25, 0.5 ])
    """
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    least: NDArray[np.float64] = np.prod(sides, axis=1) / np.prod(sides + MARGIN_PX, axis=1)
    return np.minimum(iou, least)


def evaluate_ilsvrc(truth: AnnotationSet, detections: DetectionSet, iou: float = 0.5) -> IlsvrcResult:
    """Score detections by the rules of ILSVRC's detection task.

    Boxes are compared as inclusive pixels. Each detection, by falling score (ties in the order of
    `detections`), takes the object of its class and image with the highest IoU of those that are free and
    overlap by what each asks, `wanted_iou`; if there is none it is false. Difficult objects and crowds,
    which ILSVRC has not, may take any number of detections that no other object takes, and do not count.

    Args:
        truth: N images and their objects.
        detections: detections in the same box format as `truth`.
        iou: what is asked of large objects.

    Raises:
        UserError: the detections do not fit the annotations.

    Reference: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015, section 4.3.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> evaluate_ilsvrc(*two_images()).ap.round(4)
        array([1.  , 0.25])
    """
    check_pair(truth, detections)
    boxes = boxes_as(detections.boxes, detections.box_format, "voc")
    object_boxes = boxes_as(truth.boxes, truth.box_format, "voc")
    least = wanted_iou(object_boxes, iou)
    kept = matches_of_classes(truth, detections, boxes, object_boxes, least, iou, _match_class)
    curves = curves_by_class(truth, detections, kept, iou)
    num_objects = np.bincount(truth.labels[kept.counts], minlength=len(truth.classes))
    ap = [area_ap(c.recall, c.precision) if n else np.nan for c, n in zip(curves, num_objects, strict=True)]
    return IlsvrcResult(truth.classes, np.array(ap, np.float64), kept)


@compiled
def _match_class(
    rows: NDArray[np.int32],
    images: NDArray[np.int64],
    boxes: NDArray[np.float64],
    object_rows: NDArray[np.int32],
    object_images: NDArray[np.int64],
    object_boxes: NDArray[np.float64],
    ignore: NDArray[np.bool_],
    least: NDArray[np.float64],
    num_images: int,
    state: NDArray[np.uint8],
    matched: NDArray[np.int32],
    matched_iou: NDArray[np.float64],
    found_by: NDArray[np.int32],
) -> None:
    """Fill the state of one class's detections, taken by falling score; `object_rows` are by image."""
    starts, stops = objects_by_image(object_rows, object_images, num_images)
    for row in rows:
        image = images[row]
        best, best_object = -1.0, -1
        for position in range(starts[image], stops[image]):
            thing = object_rows[position]
            overlap = inclusive_iou(boxes[row], object_boxes[thing])
            free = ignore[thing] or found_by[thing] < 0
            if not free or overlap < least[thing]:
                continue
            # An object that counts is preferred to one that does not.
            counts_more = best_object >= 0 and ignore[best_object] and not ignore[thing]
            counts_less = best_object >= 0 and ignore[thing] and not ignore[best_object]
            if counts_more or (overlap > best and not counts_less):
                best, best_object = overlap, thing
        state[row] = FALSE_POSITIVE
        if best_object < 0:
            continue
        state[row] = IGNORED if ignore[best_object] else TRUE_POSITIVE
        matched[row], matched_iou[row] = best_object, best
        if found_by[best_object] < 0:
            found_by[best_object] = row
