"""COCO's key point metric, AP over object keypoint similarity, to the last bit of the official code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import boxes_as, points_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.annotations.keypoints import KeypointLayout
from detkit.errors import UserError
from detkit.evaluation.metrics.coco import CocoResult, mean_existing, score_pairs
from detkit.evaluation.metrics.coco_matching import Similarities
from detkit.evaluation.metrics.matching import check_pair

MAX_DETECTIONS = 20
COCO_SIGMAS = {
    "nose": 0.026,
    **dict.fromkeys(("left_eye", "right_eye"), 0.025),
    **dict.fromkeys(("left_ear", "right_ear"), 0.035),
    **dict.fromkeys(("left_shoulder", "right_shoulder"), 0.079),
    **dict.fromkeys(("left_elbow", "right_elbow"), 0.072),
    **dict.fromkeys(("left_wrist", "right_wrist"), 0.062),
    **dict.fromkeys(("left_hip", "right_hip"), 0.107),
    **dict.fromkeys(("left_knee", "right_knee"), 0.087),
    **dict.fromkeys(("left_ankle", "right_ankle"), 0.089),
}
"""How far two people who label a point lie apart, in roots of the object's area; measured by COCO."""
OTHER_SIGMA = 0.05


class OksResult(CocoResult):
    """The arrays behind COCO's key point numbers, and the numbers; see `CocoResult`."""

    @property
    def stats(self) -> dict[str, float]:
        """The ten official numbers by name; NaN where there is nothing to average."""
        found: dict[str, float] = {}
        for name, values in (("AP", self.precision), ("AR", self.recall)):
            found |= {
                name: mean_existing(values[..., 0, -1]),
                f"{name}50": mean_existing(values[:1, ..., 0, -1]),
                f"{name}75": mean_existing(values[5:6, ..., 0, -1]),
                f"{name}m": mean_existing(values[..., 2, -1]),
                f"{name}l": mean_existing(values[..., 3, -1]),
            }
        return found


def sigmas_of(layout: KeypointLayout) -> tuple[float, ...]:
    """Return the sigma of each point: COCO's for a point of its name, 0.05 for others.

    Example:
        >>> sigmas_of(KeypointLayout(("nose", "tip")))
        (0.026, 0.05)
    """
    return tuple(COCO_SIGMAS.get(name, OTHER_SIGMA) for name in layout.names)


def evaluate_oks(
    truth: AnnotationSet,
    detections: DetectionSet,
    sigmas: Sequence[float] = (),
    *,
    threads: int | None = None,
) -> OksResult:
    """Score key points by COCO's rules; the arrays equal pycocotools 2.0.11's in every bit.

    Detections are matched to objects as boxes are, by the similarity of their points in the place of IoU.
    An object without a labelled point is ignored, and so is a crowd, which any number of detections may be
    matched to. A detection is as large as the box around its points. The best 20 of a class and image count.

    Args:
        truth: N images and their objects, with key points.
        detections: detections in the same box format, with as many points each.
        sigmas: P of the points; none takes `sigmas_of` their names.
        threads: threads to use, all available cores by default.

    Raises:
        UserError: one of the two has no key points, or they are not as many; or the detections do not fit the
            annotations.

    Example:
        >>> from detkit.evaluation.example import two_kites
        >>> round(evaluate_oks(*two_kites()).stats["AP50"], 6)
        1.0

    Reference: Lin et al., Microsoft COCO, and its key point evaluation of 2016.
    """
    check_pair(truth, detections)
    layout = require_keypoints(truth, detections)
    given = tuple(sigmas) or sigmas_of(layout)
    if len(given) != len(layout.names):
        raise UserError(f"oks_sigmas: {len(given)} are given, but there are {len(layout.names)} key points")
    result = score_pairs(
        truth,
        detections,
        (MAX_DETECTIONS,),
        records=False,
        threads=threads,
        similarities=similarities(truth, detections, np.asarray(given)),
    )
    return OksResult(**vars(result))


def require_keypoints(truth: AnnotationSet, detections: DetectionSet) -> KeypointLayout:
    """Return the layout of the key points that both have.

    Raises:
        UserError: one has none, or they are not as many.
    """
    if truth.layout is None or truth.keypoints is None:
        raise UserError("metric: oks compares key points, which the annotations do not have")
    if detections.keypoints is None and len(detections.scores):
        raise UserError("metric: oks compares key points, which the detections do not have")
    if detections.keypoints is not None and detections.keypoints.shape[1] != len(truth.layout.names):
        raise UserError(
            f"the detections have {detections.keypoints.shape[1]} key points, the annotations "
            f"{len(truth.layout.names)}: {', '.join(truth.layout.names)}"
        )
    return truth.layout


def similarities(truth: AnnotationSet, detections: DetectionSet, sigmas: NDArray[np.float64]) -> Similarities:
    """Return the object keypoint similarity of each detection with the objects of its class and image.

    NumPy and not a compiled loop: only its own exp and its order of summing give the official bits.

    Args:
        truth: N images and their objects, with P key points.
        detections: D detections with as many.
        sigmas: (P,).

    Example:
        >>> from detkit.evaluation.example import two_kites
        >>> similarities(*two_kites(), np.full(4, 0.05)).values.round(3)
        array([0.   , 1.   , 0.652])
    """
    assert truth.keypoints is not None
    count, classes = len(detections.scores), len(truth.classes)
    starts, boxes = np.zeros(count, np.int64), np.zeros((count, 4))
    if not count or detections.keypoints is None:
        return Similarities(np.zeros(1), starts, boxes)
    points = points_as(detections.keypoints, detections.box_format, "coco")
    low, high = points.min(axis=1), points.max(axis=1)
    boxes = np.concatenate([low, high - low], axis=1)
    objects = points_as(truth.keypoints, truth.box_format, "coco")
    object_boxes = boxes_as(truth.boxes, truth.box_format, "coco")
    of_objects = _groups(truth.image_index() * classes + truth.labels)
    values, end = [np.zeros(1)], 1  # a set without any pair has one, too: the loops tell by it that it is one
    for key, rows in _groups(detections.images * classes + detections.labels).items():
        own = of_objects.get(key, np.zeros(0, np.int64))
        pairs = [_of_object(points[rows], objects[m], object_boxes[m], truth.areas[m], sigmas) for m in own]
        starts[rows] = end + len(own) * np.arange(len(rows))
        values += [np.stack(pairs, axis=1).ravel()] if pairs else []
        end += len(rows) * len(own)
    return Similarities(np.concatenate(values), starts, boxes)


def _of_object(
    points: NDArray[np.float64],
    own: NDArray[np.float64],
    box: NDArray[np.float64],
    area: float,
    sigmas: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the (D,) similarity of (D, P, 2) points with the (P, 3) of an object; COCO's formula and order.

    Without a labelled point it is that of the way to the object's box, widened by its own size to each side.
    """
    shows = own[:, 2] > 0
    if shows.any():
        distance = points - own[:, :2]
    else:
        low, high = box[:2] - box[2:], box[:2] + box[2:] * 2
        distance = np.maximum(0, low - points) + np.maximum(0, points - high)
        shows = np.ones(len(own), np.bool_)
    squares = distance[:, :, 0] ** 2 + distance[:, :, 1] ** 2
    exponents = squares / (sigmas * 2) ** 2 / (area + np.spacing(1)) / 2
    kept = np.ascontiguousarray(exponents[:, shows])
    mean: NDArray[np.float64] = np.sum(np.exp(-kept), axis=1) / kept.shape[1]
    return mean


def _groups(keys: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Return the rows of each key, rising."""
    order = np.argsort(keys, kind="stable")
    found, begins = np.unique(keys[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, begins[1:]), strict=True)) if len(keys) else {}
