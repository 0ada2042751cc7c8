"""Random annotations and detections full of the cases where scorers disagree."""

from __future__ import annotations

import numpy as np

from detkit.annotations.dataset import AnnotationSet, DetectionSet

SIZE = 400


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """COCO boxes from a fraction of a pixel to far beyond the image; half of them whole numbers."""
    corner = rng.uniform(-20, SIZE, (count, 2))
    extent = np.exp(rng.uniform(np.log(0.3), np.log(1.5 * SIZE), (count, 1))) * rng.uniform(
        0.4, 1.6, (count, 2)
    )
    boxes = np.concatenate([corner, extent], axis=1)
    whole = rng.random(count) < 0.5
    boxes[whole] = np.ceil(boxes[whole])
    return boxes


def detections_of(rng: np.random.Generator, truth: AnnotationSet, extra: int) -> DetectionSet:
    """Copies, shifted copies and mislabelled copies of objects, random boxes, and one crowded image."""
    copies = (
        rng.integers(0, truth.num_objects, truth.num_objects * 3) if truth.num_objects else np.zeros(0, int)
    )
    boxes = truth.boxes[copies].copy()
    noise = rng.choice([0.0, 0.0, 0.02, 0.1, 0.3], (len(copies), 1))
    boxes += noise * rng.normal(size=boxes.shape) * np.tile(boxes[:, 2:], 2)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 0.1)
    labels, images = truth.labels[copies].copy(), truth.image_index()[copies]
    wrong = rng.random(len(copies)) < 0.1
    labels[wrong] = rng.integers(0, len(truth.classes), wrong.sum())
    crowded = rng.integers(0, truth.num_images, extra)
    if rng.random() < 0.3:  # more detections of one class in one image than any limit
        crowded[:] = crowded[0] if extra else 0
    boxes = np.concatenate([boxes, random_boxes(rng, extra)])
    images = np.concatenate([images, crowded])
    labels = np.concatenate([labels, rng.integers(0, max(1, len(truth.classes) // 2), extra)]).astype(
        np.int32
    )
    scores = rng.random(len(boxes)) * rng.choice([1.0, -1.0, 1e-8], p=[0.8, 0.1, 0.1])
    if rng.random() < 0.6:
        scores = np.round(scores, rng.integers(0, 3))
    shuffle = rng.permutation(len(boxes))
    return DetectionSet(images[shuffle], labels[shuffle], scores[shuffle], boxes[shuffle], "coco")


def random_sets(seed: int) -> tuple[AnnotationSet, DetectionSet]:
    """A small data set in COCO boxes: crowds, ties, empty images and classes, id 0, odd id orders."""
    rng = np.random.default_rng(seed)
    num_images, num_classes = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    per_image = rng.integers(0, 9, num_images) * (rng.random(num_images) < 0.8)
    count = int(per_image.sum())
    boxes = random_boxes(rng, count)
    if count and rng.random() < 0.7:  # twins tie in IoU
        twins = rng.integers(0, count, count // 3 + 1)
        boxes[rng.integers(0, count, len(twins))] = boxes[twins]
    areas = boxes[:, 2] * boxes[:, 3] * rng.choice([1.0, 0.6, 1.1], count)
    areas[rng.random(count) < 0.1] = rng.choice([32.0**2, 96.0**2])
    truth = AnnotationSet(
        classes=tuple(f"class{k}" for k in range(num_classes)),
        category_ids=rng.permutation(np.arange(1, 2 * num_classes + 1))[:num_classes],
        image_files=np.array([f"{i}.jpg" for i in range(num_images)]),
        image_ids=rng.permutation(np.arange(3 * num_images))[:num_images],
        sizes=np.full((num_images, 2), SIZE, np.int32),
        offsets=np.concatenate([[0], np.cumsum(per_image)]).astype(np.int64),
        boxes=boxes,
        box_format="coco",
        labels=rng.integers(0, max(1, num_classes - int(rng.random() < 0.4)), count).astype(np.int32),
        difficult=rng.random(count) < 0.15,
        crowd=rng.random(count) < rng.choice([0.0, 0.25]),
        areas=areas,
        ids=rng.permutation(count) + int(rng.random() < 0.5),
        root="",
        sources=np.array(["random"] * num_images),
    )
    return truth, detections_of(rng, truth, int(rng.choice([0, 20, 300], p=[0.3, 0.5, 0.2])))
