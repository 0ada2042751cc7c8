"""PASCAL VOC average precision, by the rules of the official development kit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import boxes_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.curves import Curve, area_ap, curves_by_class, eleven_point_ap, mean_known
from detkit.evaluation.metrics.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    MatchRecords,
    check_pair,
    matches_of_classes,
)
from detkit.evaluation.metrics.score_order import objects_by_image
from detkit.runtime.compiled import compiled


@dataclass(frozen=True)
class VocResult:
    """Average precision of K classes by both of VOC's rules.

    Attributes:
        classes: K names.
        iou: the IoU from which a detection counts as found.
        ap07: (K,) float64, the mean of 11 interpolated precisions (VOC2007); NaN without objects.
        ap10: (K,) float64, the area under the interpolated curve (VOC2010 and later); NaN without objects.
        num_objects: (K,) int64 objects that are not difficult.
        curves: one `Curve` per class, after each of its detections.
        records: what became of each box, where asked for.
    """

    classes: tuple[str, ...]
    iou: float
    ap07: NDArray[np.float64]
    ap10: NDArray[np.float64]
    num_objects: NDArray[np.int64]
    curves: tuple[Curve, ...]
    records: MatchRecords | None

    @property
    def map07(self) -> float:
        """Mean of `ap07` over the classes that have objects; NaN if none has."""
        return mean_known(self.ap07)

    @property
    def map10(self) -> float:
        """Mean of `ap10` over the classes that have objects; NaN if none has."""
        return mean_known(self.ap10)


def evaluate_voc(
    truth: AnnotationSet, detections: DetectionSet, iou: float = 0.5, *, records: bool = False
) -> VocResult:
    """Score detections by the rules of the VOC development kit, both of 2007 and of 2010 and later.

    Boxes are compared as inclusive pixels. Each detection, by falling score (ties in the order of
    `detections`), is held against the object of its class and image with the highest IoU: below `iou` it is
    false, on a difficult object it is ignored, on an object already found it is false. Crowd regions,
    which only COCO files have, are treated as difficult.

    Args:
        truth: N images and their objects; COCO boxes are converted to VOC's.
        detections: detections in the same box format as `truth`.
        iou: lowest IoU that counts.
        records: also return what became of each box.

    Raises:
        UserError: the detections do not fit the annotations.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> evaluate_voc(*two_images()).ap07.round(4)
        array([1.    , 0.2727])
    """
    check_pair(truth, detections)
    boxes = boxes_as(detections.boxes, detections.box_format, "voc")
    object_boxes = boxes_as(truth.boxes, truth.box_format, "voc")
    least = np.full(truth.num_objects, float(iou))
    kept = matches_of_classes(truth, detections, boxes, object_boxes, least, iou, match_voc_class)
    curves = curves_by_class(truth, detections, kept, iou)
    num_objects = np.bincount(truth.labels[kept.counts], minlength=len(truth.classes))
    ap = [
        (eleven_point_ap(c.recall, c.precision), area_ap(c.recall, c.precision)) if n else (np.nan, np.nan)
        for c, n in zip(curves, num_objects, strict=True)
    ]
    ap07, ap10 = np.array(ap, np.float64).reshape(-1, 2).T
    return VocResult(truth.classes, iou, ap07, ap10, num_objects, curves, kept if records else None)


@compiled
def inclusive_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """IoU of two boxes whose last pixel belongs to them, so that width = x2 - x1 + 1."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    iou: float = shared / (area_a + area_b - shared)
    return iou


@compiled
def match_voc_class(
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
    """Fill the state of one class's detections, taken by falling score.

    `object_rows` are the objects of the class by image. Each detection is compared with every one of
    its image; the first of the highest IoU decides, with no second choice when it is already taken.
    """
    starts, stops = objects_by_image(object_rows, object_images, num_images)
    for row in rows:
        image = images[row]
        best, best_object = -1.0, -1
        for position in range(starts[image], stops[image]):
            overlap = inclusive_iou(boxes[row], object_boxes[object_rows[position]])
            if overlap > best:
                best, best_object = overlap, object_rows[position]
        state[row] = FALSE_POSITIVE
        if best_object < 0 or best < least[best_object]:
            continue
        if ignore[best_object]:
            state[row] = IGNORED
        elif found_by[best_object] < 0:
            state[row] = TRUE_POSITIVE
        else:
            continue
        matched[row], matched_iou[row] = best_object, best
        if found_by[best_object] < 0:
            found_by[best_object] = row
