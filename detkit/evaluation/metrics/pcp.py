"""Percentage of correct parts: limbs whose two ends lie where they should."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import points_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.accuracy import places
from detkit.evaluation.metrics.oks import require_keypoints

SHARE = 0.5  # of a limb's length


@dataclass(frozen=True)
class PcpResult:
    """Share of correct limbs; NaN where none is labelled at both ends.

    Attributes:
        total: of all limbs.
        per_class: (K,) of the limbs of each class.
        per_limb: (E,) of each pair of the skeleton.
    """

    total: float
    per_class: NDArray[np.float64]
    per_limb: NDArray[np.float64]


def evaluate_pcp(truth: AnnotationSet, detections: DetectionSet) -> PcpResult:
    """Count the limbs of one object an image that its best detection has right, of whatever class it is.

    A limb is a pair of the skeleton. It is right where both ends are at most half of its true length away;
    without a detection it is wrong. Of several objects of an image the largest counts, crowds and difficult
    ones aside.

    Args:
        truth: N images and their objects, with key points.
        detections: detections in the same box format, with as many points each.

    Raises:
        UserError: one of the two has no key points, or they are not as many.

    Example:
        >>> from detkit.evaluation.example import two_kites
        >>> evaluate_pcp(*two_kites()).per_limb.tolist()
        [1.0, 0.5]

    Reference: Ferrari et al., CVPR 2008, as Toshev and Szegedy, DeepPose, CVPR 2014, count.
    """
    layout = require_keypoints(truth, detections)
    assert truth.keypoints is not None
    rows = _largest(truth)
    images = truth.image_index()[rows]
    own = points_as(truth.keypoints, truth.box_format, "coco")[rows]
    guess = np.full((truth.num_images, len(layout.names), 2), np.inf)
    if detections.keypoints is not None:
        best = places(detections.images, detections.scores) == 0
        guess[detections.images[best]] = points_as(detections.keypoints[best], detections.box_format, "coco")
    ends = np.asarray(layout.skeleton, np.int64).reshape(-1, 2)
    limbs = own[:, ends]  # (n, E, 2 ends, 3)
    length = np.linalg.norm(limbs[:, :, 0, :2] - limbs[:, :, 1, :2], axis=2)
    away = np.linalg.norm(guess[images][:, ends] - limbs[..., :2], axis=3)
    known = (limbs[..., 2] > 0).all(axis=2)
    right = known & (away <= SHARE * length[:, :, None]).all(axis=2)
    of_class = np.arange(len(truth.classes))[:, None] == truth.labels[rows]
    return PcpResult(
        total=float(_share(right.sum(), known.sum())),
        per_class=_share(of_class @ right.sum(axis=1), of_class @ known.sum(axis=1)),
        per_limb=_share(right.sum(axis=0), known.sum(axis=0)),
    )


def _largest(truth: AnnotationSet) -> NDArray[np.int64]:
    """Return the row of the largest object of each image that has one that counts."""
    rows = np.flatnonzero(~(truth.crowd | truth.difficult))
    images = truth.image_index()[rows]
    order = np.lexsort((-truth.areas[rows], images))
    first = np.unique(images[order], return_index=True)[1]
    found: NDArray[np.int64] = rows[order][first]
    return found


def _share(right: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(known, right / np.maximum(known, 1), np.nan)
