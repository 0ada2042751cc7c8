"""Recall of proposals, class-agnostic: by IoU, on average, and mean best overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.curves import mean_known
from detkit.evaluation.metrics.matching import check_pair
from detkit.evaluation.metrics.overlaps import corner_iou
from detkit.evaluation.metrics.score_order import falling_keys, sort_by_score, stable_by_key
from detkit.runtime.compiled import compiled

RECALL_IOUS = (0.5, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class ProposalResult:
    """Coverage of M objects by the best L numbers of boxes an image.

    Attributes:
        classes: K names.
        limits: L numbers of boxes an image, the highest scores first.
        ious: T IoU thresholds.
        boxes_per_image: (L,) float64 mean number of boxes that were there.
        recall: (L, T) float64 share of objects with a box of their own at each IoU.
        average_recall: (L,) float64 recall averaged over IoU 0.5 to 1.
        abo: (L, K) float64 mean over a class's objects of the highest IoU; NaN without objects.
    """

    classes: tuple[str, ...]
    limits: tuple[int, ...]
    ious: tuple[float, ...]
    boxes_per_image: NDArray[np.float64]
    recall: NDArray[np.float64]
    average_recall: NDArray[np.float64]
    abo: NDArray[np.float64]

    @property
    def mabo(self) -> NDArray[np.float64]:
        """(L,) mean of `abo` over the classes that have objects."""
        return np.array([mean_known(row) for row in self.abo])


@compiled
def pair_off(ious: NDArray[np.float64], assigned: NDArray[np.float64]) -> None:
    """Match boxes (rows) to objects (columns), the best pair of those left again and again.

    `assigned` gets each object's IoU with its box, 0 where none is left that overlaps it. `ious` is used up.
    """
    for _ in range(ious.shape[1]):
        best, row, column = 0.0, -1, -1
        for i in range(ious.shape[0]):
            for j in range(ious.shape[1]):
                if ious[i, j] > best:
                    best, row, column = ious[i, j], i, j
        if row < 0:
            return
        assigned[column] = best
        ious[row, :] = -1.0
        ious[:, column] = -1.0


@compiled
def cover(
    rows: NDArray[np.int32],
    starts: NDArray[np.int64],
    boxes: NDArray[np.float64],
    objects: NDArray[np.int32],
    object_starts: NDArray[np.int64],
    object_boxes: NDArray[np.float64],
    limit: int,
    best: NDArray[np.float64],
    own: NDArray[np.float64],
) -> None:
    """Fill for each object the highest IoU with any box and the IoU with a box of its own, image by image."""
    for image in range(len(starts) - 1):
        count = min(limit, starts[image + 1] - starts[image])
        here = objects[object_starts[image] : object_starts[image + 1]]
        ious = np.zeros((count, len(here)))
        for j in range(len(here)):
            for i in range(count):
                ious[i, j] = corner_iou(boxes, rows[starts[image] + i], object_boxes, here[j])
                best[here[j]] = max(best[here[j]], ious[i, j])
        assigned = np.zeros(len(here))
        pair_off(ious, assigned)
        own[here] = assigned


def evaluate_proposals(
    truth: AnnotationSet,
    detections: DetectionSet,
    *,
    limits: tuple[int, ...] = (100, 300, 1000, 2000),
    ious: tuple[float, ...] = RECALL_IOUS,
) -> ProposalResult:
    """Measure how boxes cover objects, whatever class either has.

    Recall and its average match one box to one object, the best pair of an image first (Hosang et al.,
    "What makes for effective detection proposals?", PAMI 2016). The average best overlap (ABO; Uijlings
    et al., "Selective Search for Object Recognition", IJCV 2013) takes each object's best box even if
    another object has it too. Objects of images without boxes count as missed; difficult objects and
    crowd regions do not count.

    Args:
        truth: N images and their M objects.
        detections: boxes of any source, with the scores that rank them within an image; labels do not matter.
        limits: numbers of boxes an image to look at.
        ious: thresholds of recall, at which an IoU of just the threshold counts.

    Raises:
        UserError: the boxes do not fit the annotations.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> evaluate_proposals(*two_images(), limits=(1, 10)).recall[:, 0].round(3)
        array([0.333, 0.667])
    """
    check_pair(truth, detections)
    counts = ~(truth.difficult | truth.crowd)
    num_objects = int(counts.sum()) or np.nan  # recall of nothing is not known
    rows = np.arange(len(detections.scores), dtype=np.int32)
    rows = sort_by_score(falling_keys(np.ascontiguousarray(detections.scores, np.float64)), rows)
    rows, starts = stable_by_key(np.ascontiguousarray(detections.images, np.int64), truth.num_images, rows)
    objects = np.flatnonzero(counts).astype(np.int32)
    objects, object_starts = stable_by_key(truth.image_index(), truth.num_images, objects)
    boxes, object_boxes = (
        to_corners(detections.boxes, detections.box_format),
        to_corners(truth.boxes, truth.box_format),
    )
    best, own = np.zeros((2, len(limits), truth.num_objects))
    for i, limit in enumerate(limits):
        cover(rows, starts, boxes, objects, object_starts, object_boxes, limit, best[i], own[i])
    recall = np.stack([(own[:, counts] >= iou).sum(1) / num_objects for iou in ious], axis=1)
    # Twice the area under recall over IoU from 0.5 to 1 is the mean of 2 max(IoU - 0.5, 0).
    average_recall = (2 * np.maximum(own[:, counts] - 0.5, 0)).sum(axis=1) / num_objects
    per_image = np.stack([np.minimum(np.diff(starts), limit) for limit in limits])
    abo = np.full((len(limits), len(truth.classes)), np.nan)
    for k in np.unique(truth.labels[counts]):
        abo[:, k] = best[:, counts & (truth.labels == k)].mean(1)
    return ProposalResult(
        classes=truth.classes,
        limits=limits,
        ious=ious,
        boxes_per_image=per_image.sum(1) / max(1, truth.num_images),
        recall=recall,
        average_recall=average_recall,
        abo=abo,
    )
