"""Two images small enough to check a metric by hand, for the examples in docstrings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detkit.annotations.dataset import AnnotationSet, DetectionSet, select_objects
from detkit.annotations.keypoints import KeypointLayout
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.matching import MatchRecords


def two_images() -> tuple[AnnotationSet, DetectionSet]:
    """Return 3 objects of 2 classes in COCO boxes, and 4 detections.

    The cat is found. Of the two dogs one is found at IoU 0.8, after a false detection far from any
    dog; the other dog is missed.

    Example:
        >>> truth, detections = two_images()
        >>> truth.num_objects, len(detections.scores)
        (3, 4)
    """
    truth = AnnotationSet(
        classes=("cat", "dog"),
        category_ids=np.array([1, 2]),
        image_files=np.array(["a.jpg", "b.jpg"]),
        image_ids=np.array([1, 2]),
        sizes=np.array([[100, 100], [100, 100]], np.int32),
        offsets=np.array([0, 2, 3]),
        boxes=np.array([[10.0, 10, 40, 40], [50, 50, 50, 40], [0, 0, 20, 20]]),
        box_format="coco",
        labels=np.array([0, 1, 1], np.int32),
        difficult=np.zeros(3, np.bool_),
        crowd=np.zeros(3, np.bool_),
        areas=np.array([1600.0, 2000, 400]),
        ids=np.array([1, 2, 3]),
        root="",
        sources=np.array(["example", "example"]),
    )
    detections = DetectionSet(
        images=np.array([0, 1, 0, 1]),
        labels=np.array([0, 1, 1, 1], np.int32),
        scores=np.array([0.9, 0.8, 0.7, 0.1]),
        boxes=np.array([[10.0, 10, 40, 40], [70, 70, 20, 20], [50, 50, 40, 40], [60, 0, 30, 30]]),
        box_format="coco",
    )
    return truth, detections


def two_kites() -> tuple[AnnotationSet, DetectionSet]:
    """Return the first object of each of two images with four key points, and a detection of each.

    The first is exact. In the second one point is too far away: for its limb, and for its similarity alone.

    Example:
        >>> truth, detections = two_kites()
        >>> truth.keypoints.shape, detections.keypoints.shape
        ((2, 4, 3), (2, 4, 2))
    """
    truth, detections = two_images()
    truth = select_objects(truth, np.array([True, False, True]))
    corners = np.array([[10.0, 10, 2], [20, 15, 2], [10, 40, 2], [0, 15, 2]])
    points = np.stack([corners, corners])
    found = points[:, :, :2].copy()
    found[1, 2] += [16, 0]
    found[1, 3] += [0, 2]
    layout = KeypointLayout(("tip", "left", "tail", "right"), ((0, 1), (0, 2)))
    best = np.array([True, True, False, False])
    return replace(truth, keypoints=points, layout=layout), replace(detections.of(best), keypoints=found)


def two_images_matched() -> tuple[AnnotationSet, DetectionSet, MatchRecords]:
    """Return the same, and what became of each box by COCO's rules.

    Example:
        >>> two_images_matched()[2].counts
        array([ True,  True,  True])
    """
    truth, detections = two_images()
    records = evaluate_coco(truth, detections, records=True).records
    assert records is not None
    return truth, detections, records
