"""PASCAL VOC average precision, by the rules of the official development kit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.inputs import boxes_as, check_pair
from detkit.evaluation.matching import IGNORED, TRUE_POSITIVE, MatchRecords, empty_records
from detkit.evaluation.score_order import by_class, falling_keys, sort_by_score
from detkit.evaluation.voc_class import match_voc_class

# Multiples of 0.1 in floating point, as published numbers were computed: a recall of exactly 3/10, 6/10
# or 7/10 falls short of 0.30000000000000004, 0.6000000000000001 or 0.7000000000000001.
ELEVEN_RECALLS = np.arange(11) * 0.1


@dataclass(frozen=True)
class VocCurve:
    """Precision and recall of one class after each of its n detections, by falling score.

    Attributes:
        recall: (n,) float64; all 0 where the class has no objects that count.
        precision: (n,) float64, 0 before the first detection that counts.
        scores: (n,) float64.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class VocResult:
    """Average precision of K classes by both of VOC's rules.

    Attributes:
        classes: K names.
        iou: the IoU from which a detection counts as found.
        ap07: (K,) float64, the mean of 11 interpolated precisions (VOC2007); NaN without objects.
        ap10: (K,) float64, the area under the interpolated curve (VOC2010 and later); NaN without objects.
        num_objects: (K,) int64 objects that are not difficult.
        curves: one `VocCurve` per class.
        records: what became of each box, where asked for.
    """

    classes: tuple[str, ...]
    iou: float
    ap07: NDArray[np.float64]
    ap10: NDArray[np.float64]
    num_objects: NDArray[np.int64]
    curves: tuple[VocCurve, ...]
    records: MatchRecords | None

    @property
    def map07(self) -> float:
        """Mean of `ap07` over the classes that have objects; NaN if none has."""
        return mean_known(self.ap07)

    @property
    def map10(self) -> float:
        """Mean of `ap10` over the classes that have objects; NaN if none has."""
        return mean_known(self.ap10)


def mean_known(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN, NaN if there are none.

    Example:
        >>> mean_known(np.array([0.5, np.nan, 1.0]))
        0.75
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def eleven_point_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return VOC2007's AP: the mean of the highest precision at recalls of at least 0, 0.1, ... 1.

    Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2.

    Args:
        recall: (n,) rising.
        precision: (n,).

    Example:
        >>> round(eleven_point_ap(np.array([0.5, 1.0]), np.array([1.0, 0.5])), 4)
        0.7727
    """
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(recall, ELEVEN_RECALLS)].sum() / 11)


def area_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return the AP of VOC2010 and later: the area under the precision made non-increasing in recall.

    Args:
        recall: (n,) rising.
        precision: (n,).

    Example:
        >>> area_ap(np.array([0.5, 1.0]), np.array([1.0, 0.5]))
        0.75
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def voc_curve(states: NDArray[np.uint8], scores: NDArray[np.float64], num_objects: int) -> VocCurve:
    """Return precision and recall after each detection.

    Args:
        states: (n,) by falling score, as in `MatchRecords`.
        scores: (n,).
        num_objects: objects that count, the denominator of recall.

    Example:
        >>> voc_curve(np.array([1, 0], np.uint8), np.array([0.9, 0.8]), 2).precision
        array([1. , 0.5])
    """
    true = np.cumsum(states == TRUE_POSITIVE, dtype=np.float64)
    counted = np.cumsum(states != IGNORED, dtype=np.float64)
    return VocCurve(true / max(num_objects, 1), true / np.maximum(counted, 1.0), scores)


def evaluate_voc(
    truth: AnnotationSet, found: DetectionSet, iou: float = 0.5, *, records: bool = False
) -> VocResult:
    """Score detections by the rules of the VOC development kit, both of 2007 and of 2010 and later.

    Boxes are compared as inclusive pixels. Each detection, by falling score (ties in the order of
    `found`), is held against the object of its class and image with the highest IoU: below `iou` it is
    false, on a difficult object it is ignored, on an object already found it is false. Crowd regions,
    which only COCO files have, are treated as difficult.

    Args:
        truth: N images and their objects; COCO boxes are converted to VOC's.
        found: detections in the same box format as `truth`.
        iou: lowest IoU that counts.
        records: also return what became of each box.

    Raises:
        UserError: the detections do not fit the annotations.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> evaluate_voc(*two_images()).ap07.round(4)
        array([1.    , 0.2727])
    """
    check_pair(truth, found)
    boxes = boxes_as(found.boxes, found.box_format, "voc")
    object_boxes = boxes_as(truth.boxes, truth.box_format, "voc")
    ignore = truth.difficult | truth.crowd
    images, object_images = np.asarray(found.images, np.int64), truth.image_index()
    num_classes = len(truth.classes)
    rows, starts = by_class(found.labels, num_classes)
    object_rows, object_starts = by_class(truth.labels, num_classes)
    kept = empty_records(len(found.scores), truth.num_objects, np.array([iou]))
    keys = falling_keys(np.asarray(found.scores, np.float64))
    num_objects = np.bincount(truth.labels[~ignore], minlength=num_classes)
    curves = []
    for k in range(num_classes):
        ordered = sort_by_score(keys, rows[starts[k] : starts[k + 1]])
        match_voc_class(
            ordered, images, boxes,
            object_rows[object_starts[k] : object_starts[k + 1]], object_images, object_boxes, ignore,
            truth.num_images, iou,
            kept.state[:, 0], kept.matched[:, 0], kept.iou[:, 0], kept.found_by[:, 0],
        )  # fmt: skip
        curves.append(voc_curve(kept.state[ordered, 0], found.scores[ordered], int(num_objects[k])))
    ap = [
        (eleven_point_ap(c.recall, c.precision), area_ap(c.recall, c.precision)) if n else (np.nan, np.nan)
        for c, n in zip(curves, num_objects, strict=True)
    ]
    ap07, ap10 = np.array(ap, np.float64).reshape(-1, 2).T
    return VocResult(truth.classes, iou, ap07, ap10, num_objects, tuple(curves), kept if records else None)
