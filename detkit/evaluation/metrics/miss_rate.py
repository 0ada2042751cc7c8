"""Log-average miss rate over false positives an image, as Caltech's pedestrian benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.curves import mean_known
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

REFERENCES = 10.0 ** np.linspace(-2, 0, 9)
"""False positives an image at which the miss rate is read, evenly spread over the logarithm."""
_LEAST = 1e-10  # a miss rate of 0 has no logarithm


@dataclass(frozen=True)
class DetCurve:
    """Misses of one class against false positives, after each of its n detections that count.

    Attributes:
        false_positives: (n,) float64 an image, rising.
        miss_rate: (n,) float64 share of the objects that are not found, falling.
        scores: (n,) float64.
    """

    false_positives: NDArray[np.float64]
    miss_rate: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class MissRateResult:
    """Log-average miss rates of K classes.

    Attributes:
        classes: K names.
        miss_rate: (K,) float64, less is better; NaN without objects.
        curves: one for each class: detection error trade-off.
        records: what became of each box.
    """

    classes: tuple[str, ...]
    miss_rate: NDArray[np.float64]
    curves: tuple[DetCurve, ...]
    records: MatchRecords

    @property
    def mean(self) -> float:
        """Mean of `miss_rate` over the classes that have objects; NaN if none has."""
        return mean_known(self.miss_rate)


def evaluate_miss_rate(truth: AnnotationSet, detections: DetectionSet, iou: float = 0.5) -> MissRateResult:
    """Score detections by the log-average miss rate.

    Each detection, by falling score (ties in the order of `detections`), takes the object of its class and
    image with the highest IoU of those that are free, from `iou` on; of equal ones the later. If there is
    none, but it lies in a difficult object or a crowd by that share of its own area, it is ignored; these
    take any number. All others are false. Boxes are continuous: width = x2 - x1.

    Args:
        truth: N images and their objects.
        detections: detections in the same box format as `truth`.
        iou: lowest overlap that counts.

    Raises:
        UserError: the detections do not fit the annotations.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> evaluate_miss_rate(*two_images()).miss_rate.round(4)
        array([0.    , 0.8572])

    Reference: Dollar, Wojek, Schiele & Perona, PAMI 2012, section 3.
    """
    check_pair(truth, detections)
    boxes = to_corners(detections.boxes, detections.box_format)
    object_boxes = to_corners(truth.boxes, truth.box_format)
    least = np.full(truth.num_objects, float(iou))
    kept = matches_of_classes(truth, detections, boxes, object_boxes, least, iou, match_free_objects)
    num_objects = np.bincount(truth.labels[kept.counts], minlength=len(truth.classes))
    curves = []
    for k, objects in enumerate(num_objects.tolist()):
        ordered = kept.rows_of(k, 0)
        counted = ordered[kept.state[ordered, 0] != IGNORED]
        true = np.cumsum(kept.state[counted, 0] == TRUE_POSITIVE)
        false = np.arange(1, len(counted) + 1) - true
        missed = 1 - true / max(objects, 1)
        curves.append(DetCurve(false / max(truth.num_images, 1), missed, detections.scores[counted]))
    averages = [log_average(c) if n else np.nan for c, n in zip(curves, num_objects, strict=True)]
    return MissRateResult(truth.classes, np.array(averages, np.float64), tuple(curves), kept)


def log_average(curve: DetCurve) -> float:
    """Return the geometric mean of the miss rates at the nine references.

    Each is that of the last detection with no more false positives; 1 where there is none.

    Example:
        >>> curve = DetCurve(np.array([0.0, 0.5, 2.0]), np.array([0.5, 0.5, 0.0]), np.zeros(3))
        >>> round(log_average(curve), 6)
        0.5
    """
    place = np.searchsorted(curve.false_positives, REFERENCES, side="right")
    missed = np.append(1.0, curve.miss_rate)[place]
    return float(np.exp(np.log(np.maximum(missed, _LEAST)).mean()))


@compiled
def _overlap(a: NDArray[np.float64], b: NDArray[np.float64], of_first: bool) -> float:
    """IoU of two boxes, or the share of the first that lies in the second."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area = (a[2] - a[0]) * (a[3] - a[1])
    if not of_first:
        area += (b[2] - b[0]) * (b[3] - b[1]) - shared
    share: float = shared / area
    return share


@compiled
def match_free_objects(
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

    `object_rows` are the objects of the class by image.
    """
    starts, stops = objects_by_image(object_rows, object_images, num_images)
    for row in rows:
        image = images[row]
        state[row] = FALSE_POSITIVE
        for ignored in (False, True):
            best, best_object = -1.0, -1
            for position in range(starts[image], stops[image]):
                other = object_rows[position]
                if ignore[other] != ignored or (found_by[other] >= 0 and not ignored):
                    continue
                overlap = _overlap(boxes[row], object_boxes[other], ignored)
                if overlap >= max(best, least[other]):
                    best, best_object = overlap, other
            if best_object >= 0:
                state[row] = IGNORED if ignored else TRUE_POSITIVE
                matched[row], matched_iou[row] = best_object, best
                found_by[best_object] = row
                break
