"""Likely causes of an AP that is zero or does not exist, each with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import from_corners, to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.overlaps import nearest_objects

IOU = 0.5
LOW_SCORE = 0.05
Corners = NDArray[np.float64]


@dataclass(frozen=True)
class Cause:
    """One likely cause.

    Attributes:
        kind: a short stable name such as "xywh_as_xyxy".
        likelihood: 0 to 1, to rank by.
        message: what seems to be wrong, the evidence in numbers, and what to do.
    """

    kind: str
    likelihood: float
    message: str


def explain_zero(truth: AnnotationSet, detections: DetectionSet) -> tuple[Cause, ...]:
    """Return the likely causes of an AP that is zero or does not exist, the likeliest first.

    Mistakes of convention are tried out: the detections are read another way, and a cause is named when
    that way covers many more objects. With nothing to name, the answer says how far the boxes are off.

    Args:
        truth: N images and their objects.
        detections: the detections as they were scored.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> truth, detections = two_images()
        >>> wrong = replace(detections, boxes=detections.boxes / 100)
        >>> explain_zero(truth, wrong)[0].kind
        'normalised_coordinates'
    """
    if not truth.num_objects:
        message = "the annotations hold no objects, so there is no AP; check the split"
        return (Cause("no_objects", 1.0, message),)
    if not len(detections.scores):
        message = "there are no detections; lower the score threshold they were kept by"
        return (Cause("no_detections", 1.0, message),)
    causes = [
        *_wrong_images(truth, detections),
        *_other_readings(truth, detections),
        *_low_scores(detections),
    ]
    return tuple(sorted(causes, key=lambda cause: -cause.likelihood)) or (_far_off(truth, detections),)


def covered(truth: AnnotationSet, detections: DetectionSet) -> float:
    """Return the share of objects with a detection of their class at IoU 0.5 or more.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> round(covered(*two_images()), 3)
        0.667
    """
    near = nearest_objects(truth, detections)
    return len(np.unique(near.same[near.same_iou >= IOU])) / max(1, truth.num_objects)


def _wrong_images(truth: AnnotationSet, detections: DetectionSet) -> Iterator[Cause]:
    with_objects = np.unique(truth.image_index())
    shared = np.isin(with_objects, detections.images).sum()
    if shared < 0.1 * len(with_objects):
        yield Cause(
            "ids_disjoint",
            1.0 - shared / len(with_objects),
            f"only {shared} of {len(with_objects)} images with objects have any detection; the detections "
            "seem to belong to another split, or their image ids were numbered anew",
        )


def _low_scores(detections: DetectionSet) -> Iterator[Cause]:
    highest = float(detections.scores.max())
    if highest < LOW_SCORE:
        yield Cause(
            "scores_under_floor",
            0.3,
            f"the highest score is {highest:.3g}; a threshold above it keeps nothing. An untrained model, or "
            "scores that are not probabilities",
        )


def _other_readings(truth: AnnotationSet, detections: DetectionSet) -> Iterator[Cause]:
    as_is = covered(truth, detections)
    sizes = truth.sizes[detections.images].astype(np.float64)
    corners = to_corners(detections.boxes, detections.box_format)
    for kind, sentence, reading in BOX_READINGS:
        boxes = from_corners(reading(corners, detections.boxes, sizes), detections.box_format)
        yield from _if_better(truth, replace(detections, boxes=boxes), kind, sentence, as_is)
    num_classes = len(truth.classes)
    for shift in (-1, 1):
        labels = ((detections.labels + shift) % num_classes).astype(detections.labels.dtype)
        sentence = f"class indices are off by one: label k should be k {shift:+d} (is background counted?)"
        if num_classes > 1:
            yield from _if_better(
                truth, replace(detections, labels=labels), "category_shift", sentence, as_is
            )
    yield from _renamed(truth, detections, as_is)


def _if_better(
    truth: AnnotationSet, tried: DetectionSet, kind: str, sentence: str, as_is: float
) -> Iterator[Cause]:
    share = covered(truth, tried)
    if share > max(0.1, 3 * as_is):
        yield Cause(
            kind, share, f"{sentence}; read so, {share:.0%} of the objects are covered, as it is {as_is:.0%}"
        )


def _renamed(truth: AnnotationSet, detections: DetectionSet, as_is: float) -> Iterator[Cause]:
    """Classes in another order: boxes lie on objects, and each found class lies on one true class."""
    num_classes = len(truth.classes)
    near = nearest_objects(truth, detections)
    on = near.any_iou >= IOU
    pairs = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(pairs, (detections.labels[on], truth.labels[near.any[on]]), 1)
    best = np.where(pairs.any(1), pairs.argmax(1), np.arange(num_classes))
    if (best == np.arange(num_classes)).all() or len({best[k] for k in np.flatnonzero(pairs.any(1))}) < 2:
        return  # in order, or every detection lies on the one commonest class: not a matter of order
    names = [
        f"{truth.classes[k]} → {truth.classes[best[k]]}"
        for k in np.flatnonzero(best != np.arange(num_classes))
    ]
    tried = replace(detections, labels=best[detections.labels].astype(detections.labels.dtype))
    sentence = f"the classes seem to be in another order ({', '.join(names[:5])})"
    yield from _if_better(truth, tried, "classes_reordered", sentence, as_is)


def _far_off(truth: AnnotationSet, detections: DetectionSet) -> Cause:
    near = nearest_objects(truth, detections)
    anyhow = len(np.unique(near.any[near.any_iou >= IOU])) / truth.num_objects
    return Cause(
        "not_learned",
        0.2,
        "no mistake of convention explains it: of the objects, detections of the right class cover "
        f"{covered(truth, detections):.0%} and those of any class {anyhow:.0%}; the median detection has an "
        f"IoU of {np.median(near.any_iou):.2f} with the nearest object. The model may not have learned yet",
    )


def explain_class(truth: AnnotationSet, detections: DetectionSet, label: int) -> Cause:
    """Return the likeliest cause of one class's AP being zero or missing while others are fine.

    Args:
        truth: N images and their objects.
        detections: the detections as they were scored.
        label: the class.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> truth, detections = two_images()
        >>> explain_class(truth, replace(detections, labels=np.zeros(4, np.int32)), 1).kind
        'taken_for_another'
    """
    name = truth.classes[label]
    of_class = truth.labels == label
    if not of_class.any():
        return Cause("no_objects", 1.0, f"the annotations hold no {name}, so there is no AP")
    near = nearest_objects(truth, detections, of_class)
    taken_for = np.bincount(detections.labels[near.other_iou >= IOU], minlength=len(truth.classes))
    if taken_for.any():
        other = int(taken_for.argmax())
        on = len(np.unique(near.other[(near.other_iou >= IOU) & (detections.labels == other)]))
        message = f"detections of {truth.classes[other]} lie on {on} of {of_class.sum()} objects of {name}"
        return Cause("taken_for_another", on / of_class.sum(), message)
    if not (detections.labels == label).any():
        return Cause("no_detections", 1.0, f"there are no detections of {name}")
    best = near.same_iou.max()
    if best >= IOU:
        message = f"some detections lie on objects of {name}, but far down the ranking or on ignored objects"
        return Cause("ranked_low", 0.5, message)
    message = f"no detection of {name} reaches an IoU of {IOU} with an object; the best is {best:.2f}"
    return Cause("localised_poorly" if best >= 0.1 else "not_learned", 1.0 - best, message)


def _turned(quarter: int) -> Callable[[Corners, Corners, Corners], Corners]:
    """Turn boxes that were found in an image of another orientation (clockwise quarters) back."""

    def reading(corners: Corners, _raw: Corners, sizes: NDArray[np.float64]) -> Corners:
        height, width = sizes[:, 0], sizes[:, 1]
        x1, y1, x2, y2 = corners.T
        if quarter == 1:
            return np.stack([y1, height - x2, y2, height - x1], axis=1)
        if quarter == 2:
            return np.stack([width - x2, height - y2, width - x1, height - y1], axis=1)
        return np.stack([width - y2, x1, width - y1, x2], axis=1)

    return reading


BOX_READINGS: tuple[tuple[str, str, Callable[[Corners, Corners, Corners], Corners]], ...] = (
    (
        "xywh_as_xyxy",
        "boxes seem to be x y width height written where x1 y1 x2 y2 belong",
        lambda _corners, raw, _sizes: np.concatenate([raw[:, :2], raw[:, :2] + raw[:, 2:]], axis=1),
    ),
    (
        "xyxy_as_xywh",
        "boxes seem to be x1 y1 x2 y2 written where x y width height belong",
        lambda _corners, raw, _sizes: raw,
    ),
    (
        "centre_as_corner",
        "boxes seem to be centre x, centre y, width, height (YOLO's order)",
        lambda _corners, raw, _sizes: np.concatenate(
            [raw[:, :2] - raw[:, 2:] / 2, raw[:, :2] + raw[:, 2:] / 2], axis=1
        ),
    ),
    (
        "normalised_coordinates",
        "coordinates seem to be shares of the image's width and height, not pixels",
        lambda corners, _raw, sizes: corners * sizes[:, [1, 0, 1, 0]],
    ),
    (
        "swapped_axes",
        "x and y seem to be swapped",
        lambda corners, _raw, _sizes: corners[:, [1, 0, 3, 2]],
    ),
    ("wrong_orientation", "images seem to have been read upside down (EXIF orientation)", _turned(2)),
    ("wrong_orientation", "images seem to have been read a quarter turned (EXIF orientation)", _turned(1)),
    ("wrong_orientation", "images seem to have been read a quarter turned (EXIF orientation)", _turned(3)),
)
