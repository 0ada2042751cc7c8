"""One image described box by box, for tests whose answer can be said in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.example import two_images

Box = tuple[float, float, float, float]


def scene(
    objects: list[tuple[str, Box]], detections: list[tuple[str, float, Box]], classes: str = "abc"
) -> tuple[AnnotationSet, DetectionSet]:
    """Objects (class, xywh) and detections (class, score, xywh) of one image of 1000 x 1000 pixels."""
    count = len(objects)
    boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
    truth = replace(
        two_images()[0],
        classes=tuple(classes),
        category_ids=np.arange(1, len(classes) + 1),
        image_files=np.array(["a.jpg"]),
        image_ids=np.array([1]),
        sizes=np.array([[1000, 1000]], np.int32),
        offsets=np.array([0, count]),
        boxes=boxes,
        labels=np.array([classes.index(name) for name, _ in objects], np.int32),
        difficult=np.zeros(count, bool),
        crowd=np.zeros(count, bool),
        areas=boxes[:, 2] * boxes[:, 3],
        ids=np.arange(1, count + 1),
        sources=np.array(["scene"]),
    )
    found = DetectionSet(
        images=np.zeros(len(detections), np.int64),
        labels=np.array([classes.index(name) for name, _, _ in detections], np.int32),
        scores=np.array([score for _, score, _ in detections], np.float64),
        boxes=np.array([box for _, _, box in detections], np.float64).reshape(-1, 4),
        box_format="coco",
    )
    return truth, found
