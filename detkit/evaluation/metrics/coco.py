"""COCO's detection metric, to the last bit of the official implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import boxes_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.annotations.keypoints import num_labelled
from detkit.evaluation.metrics.coco_curves import Curves, curves_of_class
from detkit.evaluation.metrics.coco_matching import (
    DetectionColumns,
    Recorded,
    Similarities,
    Truth,
    counting_objects,
    match_class,
)
from detkit.evaluation.metrics.curves import HUNDRED_AND_ONE_RECALLS, mean_known
from detkit.evaluation.metrics.matching import MatchRecords, check_pair, no_matches
from detkit.evaluation.metrics.score_order import by_class, falling_keys, sort_by_score, stable_by_key
from detkit.runtime.compiled import run_all
from detkit.runtime.cores import num_cores

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREA_RANGES = np.array([[0.0, 1e10], [0.0, 32.0**2], [32.0**2, 96.0**2], [96.0**2, 1e10]])
"""Smallest and largest area of all, small, medium and large objects, both included."""
SMALL_JOB = 20_000  # detections below which starting threads costs more than it saves


@dataclass(frozen=True)
class CocoResult:
    """The arrays behind COCO's numbers, and the numbers.

    Axes: T = 10 IoU thresholds, R = 101 recalls, K = classes by category id, A = all, small, medium,
    large, M = limits of detections per image and class. -1 marks what does not exist, as in the
    official arrays; the numbers for people hold NaN instead.

    Attributes:
        classes: K names in the annotations' order.
        class_order: (K,) int64, the class index of each entry of the K axis.
        max_detections: M limits, rising.
        precision: (T, R, K, A, M) float64.
        recall: (T, K, A, M) float64.
        scores: (T, R, K, A, M) float64, the score at which each recall is reached.
        num_objects: (K, A) int64 objects that count, in the annotations' order of classes.
        records: what became of each box, where asked for.
    """

    classes: tuple[str, ...]
    class_order: NDArray[np.int64]
    max_detections: tuple[int, ...]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]
    num_objects: NDArray[np.int64]
    records: MatchRecords | None

    @property
    def stats(self) -> dict[str, float]:
        """The twelve official numbers by name; NaN where there is nothing to average."""
        best = len(self.max_detections) - 1
        named = {
            "AP": mean_existing(self.precision[:, :, :, 0, best]),
            "AP50": mean_existing(self.precision[:1, :, :, 0, best]),
            "AP75": mean_existing(self.precision[5:6, :, :, 0, best]),
            "APs": mean_existing(self.precision[:, :, :, 1, best]),
            "APm": mean_existing(self.precision[:, :, :, 2, best]),
            "APl": mean_existing(self.precision[:, :, :, 3, best]),
        }
        for m, limit in enumerate(self.max_detections):
            named[f"AR{limit}"] = mean_existing(self.recall[:, :, 0, m])
        for a, name in ((1, "ARs"), (2, "ARm"), (3, "ARl")):
            named[name] = mean_existing(self.recall[:, :, a, best])
        return named

    @property
    def per_class_ap(self) -> NDArray[np.float64]:
        """(K,) AP of each class in the annotations' order, NaN for a class without objects."""
        return self.per_class(range(len(IOU_THRESHOLDS)))

    @property
    def per_class_ap50(self) -> NDArray[np.float64]:
        """(K,) AP at IoU 0.5 of each class in the annotations' order, NaN for one without objects."""
        return self.per_class([0])

    @property
    def per_class_ap75(self) -> NDArray[np.float64]:
        """(K,) AP at IoU 0.75 of each class in the annotations' order, NaN for one without objects."""
        return self.per_class([5])

    def per_class(self, iou_columns: Sequence[int], area: int = 0) -> NDArray[np.float64]:
        """Return the (K,) AP of each class in the annotations' order over some thresholds and one size.

        Args:
            iou_columns: indices into `IOU_THRESHOLDS`.
            area: index into `AREA_RANGES`.
        """
        ap = np.empty(len(self.classes))
        for k, label in enumerate(self.class_order):
            ap[label] = mean_existing(self.precision[list(iou_columns), :, k, area, -1])
        return ap


def mean_existing(values: NDArray[np.float64]) -> float:
    """Return the mean of the entries above -1, NaN if there are none.

    Example:
        >>> mean_existing(np.array([[0.5, -1.0], [1.0, -1.0]]))
        0.75
    """
    return mean_known(values[values > -1])


def evaluate_coco(
    truth: AnnotationSet,
    detections: DetectionSet,
    *,
    max_detections: tuple[int, ...] = (1, 10, 100),
    records: bool = False,
    threads: int | None = None,
) -> CocoResult:
    """Score detections by COCO's rules; the arrays equal pycocotools 2.0.11's in every bit.

    Crowd regions absorb any number of detections and are never missed. Sizes are those of
    `truth.areas`. Objects marked difficult count like any other, because COCO knows no such mark.
    An object whose annotation id is 0 can be claimed but never makes a true positive: the official
    code reads the id as "no match", and its numbers are the ones to reproduce.

    Args:
        truth: N images and their objects; VOC boxes are converted to COCO's.
        detections: detections in the same box format as `truth`.
        max_detections: limits of detections per image and class; AP uses the highest.
        records: also return what became of each box.
        threads: threads to use, all available cores by default.

    Raises:
        UserError: the detections do not fit the annotations.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> evaluate_coco(*two_images()).per_class_ap50.round(4)
        array([1.    , 0.2525])
    """
    check_pair(truth, detections)
    return score_pairs(truth, detections, tuple(sorted(max_detections)), records=records, threads=threads)


def score_pairs(
    truth: AnnotationSet,
    detections: DetectionSet,
    limits: tuple[int, ...],
    *,
    records: bool,
    threads: int | None,
    similarities: Similarities | None = None,
) -> CocoResult:
    """Match and score detections by the IoU of their boxes, or by similarities in its place.

    Args:
        truth: N images and their objects.
        detections: detections that fit it.
        limits: rising limits of detections per image and class.
        records: also return what became of each box.
        threads: threads to use; None takes all available cores.
        similarities: of key points; objects without a labelled one are then ignored.
    """
    class_order = np.argsort(truth.category_ids, kind="stable")
    work = _Work(truth, detections, limits, records, similarities)
    if threads is None:
        threads = 1 if len(detections.scores) < SMALL_JOB else num_cores()
    sizes = np.diff(work.starts)[class_order]
    biggest_first = np.argsort(-sizes, kind="stable")
    run_all(lambda k: work.run(k, int(class_order[k])), biggest_first.tolist(), threads)
    return CocoResult(
        truth.classes, class_order, work.limits, official_axes(work.precision), official_axes(work.recall),
        official_axes(work.scores), work.num_objects, work.records,
    )  # fmt: skip


def official_axes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """View (K, M, A x T) as (T, K, A, M), or (K, M, A x T, R) as (T, R, K, A, M)."""
    num_classes, num_limits, _, *recalls = values.shape
    view = values.reshape(num_classes, num_limits, len(AREA_RANGES), len(IOU_THRESHOLDS), *recalls)
    return view.transpose(3, 4, 0, 2, 1) if recalls else view.transpose(3, 0, 2, 1)


class _Work:
    """Inputs sorted for the class loops, and the arrays they fill."""

    def __init__(
        self,
        truth: AnnotationSet,
        detections: DetectionSet,
        limits: tuple[int, ...],
        recording: bool,
        similarities: Similarities | None,
    ) -> None:
        num_classes, num_areas = len(truth.classes), len(AREA_RANGES)
        self.limits, self.recording, self.num_images = limits, recording, truth.num_images
        self.thresholds = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
        crowd = np.ascontiguousarray(truth.crowd, np.bool_)
        boxes, ignored = boxes_as(detections.boxes, detections.box_format, "coco"), crowd
        if similarities is not None and truth.keypoints is not None:
            boxes, ignored = similarities.boxes, crowd | (num_labelled(truth.keypoints) == 0)
        self.similarities = similarities or Similarities(np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 4)))
        self.truth = Truth(
            truth.image_index(),
            boxes_as(truth.boxes, truth.box_format, "coco"),
            crowd,
            truth.ids == 0,
            counting_objects(np.ascontiguousarray(truth.areas, np.float64), ignored, AREA_RANGES),
        )
        self.detections = DetectionColumns(
            np.ascontiguousarray(detections.images, np.int64),
            boxes,
            np.ascontiguousarray(detections.scores, np.float64),
        )
        self.keys = falling_keys(self.detections.scores)
        self.rows, self.starts = by_class(
            detections.labels, num_classes, by_image_id(truth, self.detections.images)
        )
        self.object_rows, self.object_starts = by_class(truth.labels, num_classes)
        self.num_objects = np.zeros((num_classes, num_areas), np.int64)
        # one class at a time is written, so a class is one block; the official axes are a view of it
        combinations = num_areas * len(IOU_THRESHOLDS)
        shape = (num_classes, len(limits), combinations, len(HUNDRED_AND_ONE_RECALLS))
        self.precision, self.scores = np.full(shape, -1.0), np.full(shape, -1.0)
        self.recall = np.full(shape[:3], -1.0)
        counts, rows, starts = (self.truth.counts & np.uint64(1)).astype(np.bool_), self.rows, self.starts
        if not recording:  # the loops want arrays of the right type, however short
            counts, rows, starts = counts[:0], rows[:0], starts[:0]
        kept = no_matches(IOU_THRESHOLDS, counts, rows, starts)
        self.records = kept if recording else None
        self.recorded = Recorded(kept.state, kept.matched, kept.iou, kept.found_by)

    def run(self, k: int, label: int) -> None:
        """Evaluate one class, given by its place on the K axis and its label."""
        rows = self.rows[self.starts[label] : self.starts[label + 1]]
        objects = self.object_rows[self.object_starts[label] : self.object_starts[label + 1]]
        if not len(objects) and not self.recording:
            return
        rows[:] = sort_by_score(self.keys, rows)
        bits = match_class(
            rows, self.detections, objects, self.truth, self.num_images,
            self.limits[-1], AREA_RANGES, self.thresholds, self.recording, self.recorded,
            self.similarities,
        )  # fmt: skip
        lowest_bits = np.arange(len(AREA_RANGES), dtype=np.uint64) * np.uint64(len(IOU_THRESHOLDS))
        counts = (self.truth.counts[objects, None] >> lowest_bits & np.uint64(1)).sum(0).astype(np.int64)
        self.num_objects[label] = counts
        for m, limit in enumerate(self.limits):
            part = Curves(self.precision[k, m], self.recall[k, m], self.scores[k, m])
            curves_of_class(bits, counts, limit, HUNDRED_AND_ONE_RECALLS, part)


def by_image_id(truth: AnnotationSet, images: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the (D,) rows of detections by their image's id, the order in which COCO breaks ties.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> by_image_id(two_images()[0], np.array([1, 0, 1]))
        array([1, 0, 2], dtype=int32)
    """
    rank = np.empty(truth.num_images, np.int64)
    rank[np.argsort(truth.image_ids, kind="stable")] = np.arange(truth.num_images)
    rows = np.arange(len(images), dtype=np.int32)
    return stable_by_key(rank[images], truth.num_images, rows)[0]
