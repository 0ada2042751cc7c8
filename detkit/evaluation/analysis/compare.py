"""Paired bootstrap: whether one set of detections is better than another beyond chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.errors import UserError
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.curves import ELEVEN_RECALLS, HUNDRED_AND_ONE_RECALLS
from detkit.evaluation.metrics.matching import IGNORED, TRUE_POSITIVE
from detkit.evaluation.metrics.voc import evaluate_voc
from detkit.runtime.compiled import compiled, run_all
from detkit.runtime.cores import num_cores

Rule = Literal["voc07", "voc10", "coco"]
RECALLS: dict[Rule, NDArray[np.float64]] = {
    "voc07": ELEVEN_RECALLS,
    "voc10": np.zeros(0),  # none: the area under the whole curve
    "coco": HUNDRED_AND_ONE_RECALLS,
}


@dataclass(frozen=True)
class Difference:
    """An AP of two sets of detections, and how far their difference can be trusted.

    Attributes:
        first: AP of the first set; NaN without objects.
        second: AP of the second set.
        low: lower end of the interval of `second - first`.
        high: upper end.
    """

    first: float
    second: float
    low: float
    high: float

    @property
    def delta(self) -> float:
        """Improvement of the second over the first."""
        return self.second - self.first

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds zero, so that other images could have turned the order round."""
        return not (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Two sets of detections on the same images.

    Attributes:
        rule: the AP that was compared.
        level: share of resamples that an interval holds.
        total: the mean over classes.
        per_class: one difference per class, in the annotations' order.
    """

    rule: Rule
    level: float
    total: Difference
    per_class: tuple[Difference, ...]


@compiled
def weighted_ap(
    images: NDArray[np.int64],
    true: NDArray[np.bool_],
    weights: NDArray[np.int32],
    num_objects: int,
    recalls: NDArray[np.float64],
    hits: NDArray[np.float64],
    precision: NDArray[np.float64],
) -> float:
    """Return the AP of detections by falling score when every image is there `weights[image]` times."""
    size = 0
    detections = seen = 0
    for i in range(len(images)):
        weight = weights[images[i]]
        seen += weight
        if true[i] and weight:
            detections += weight
            hits[size], precision[size] = detections / num_objects, detections / seen
            size += 1
    total, peak = 0.0, 0.0
    r = len(recalls) - 1
    for i in range(size - 1, -1, -1):
        before = hits[i - 1] if i else 0.0
        while r >= 0 and recalls[r] > hits[i]:
            r -= 1
        peak = max(peak, precision[i])
        if not len(recalls):
            total += (hits[i] - before) * peak
        while r >= 0 and (recalls[r] > before or not i):
            total += peak
            r -= 1
    return total / max(1, len(recalls))


@compiled
def resampled_ap(
    images: NDArray[np.int64],
    true: NDArray[np.bool_],
    object_images: NDArray[np.int64],
    weights: NDArray[np.int32],
    recalls: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the (B,) AP of one class for B rows of image weights, NaN where no object is left."""
    ap = np.full(len(weights), np.nan)
    room = np.empty((2, len(images)))
    for b in range(len(weights)):
        num_objects = 0
        for image in object_images:
            num_objects += weights[b, image]
        if num_objects:
            ap[b] = weighted_ap(images, true, weights[b], num_objects, recalls, room[0], room[1])
    return ap


def compare_detections(
    truth: AnnotationSet,
    first: DetectionSet,
    second: DetectionSet,
    *,
    rule: Rule = "coco",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two sets of detections by AP, with intervals from resampled images.

    The images are drawn anew with replacement, the same for both sets, and the difference of AP is
    taken each time; its middle `level` of values is the interval (percentile bootstrap; Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993). Matching happens within an image, so it is
    done once and only the images' weights change.

    Args:
        truth: N images and their objects of K classes.
        first: detections of one detector.
        second: detections of another.
        rule: voc07, voc10 or coco (IoU 0.50:0.95).
        resamples: how often the images are drawn.
        level: share of the differences inside an interval.
        seed: of the draws.

    Raises:
        UserError: there are no images, or detections do not fit the annotations.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> truth, detections = two_images()
        >>> compare_detections(truth, detections, detections, rule="voc10", resamples=50).total.within_noise
        True
    """
    if not truth.num_images:
        raise UserError("the annotations hold no images, so there is nothing to compare on")
    draws = np.random.default_rng(seed).multinomial(
        truth.num_images, np.full(truth.num_images, 1 / truth.num_images), size=resamples
    )
    weights = np.concatenate([np.ones_like(draws[:1]), draws]).astype(np.int32)  # row 0 is the data as it is
    aps = [_all_aps(truth, detections, rule, weights) for detections in (first, second)]
    totals = [_known_mean(ap) for ap in aps]
    return Comparison(
        rule,
        level,
        _difference(totals[0], totals[1], level),
        tuple(_difference(a, b, level) for a, b in zip(*aps, strict=True)),
    )


def _all_aps(
    truth: AnnotationSet, detections: DetectionSet, rule: Rule, weights: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return (K, B) AP of each class for each row of weights, the mean over the rule's thresholds."""
    blocks = list(_blocks(truth, detections, rule))
    aps = np.empty((len(blocks), len(weights)))

    def resample(i: int) -> None:
        aps[i] = resampled_ap(*blocks[i], weights, RECALLS[rule])

    run_all(resample, range(len(blocks)), num_cores())
    mean: NDArray[np.float64] = aps.reshape(-1, len(truth.classes), len(weights)).mean(axis=0)
    return mean


def _blocks(
    truth: AnnotationSet, detections: DetectionSet, rule: Rule
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]]:
    """Yield by threshold and class: images and outcomes by falling score, and the images of the objects."""
    evaluate = evaluate_coco if rule == "coco" else evaluate_voc
    records = evaluate(truth, detections, records=True).records
    assert records is not None
    object_images = truth.image_index()
    for column in range(len(records.thresholds)):
        for k in range(len(truth.classes)):
            rows = records.rows_of(k, column)
            rows = rows[records.state[rows, column] != IGNORED]
            true = records.state[rows, column] == TRUE_POSITIVE
            last = int(np.flatnonzero(true)[-1]) + 1 if true.any() else 0  # what follows changes nothing
            images = detections.images[rows[:last]].astype(np.int64)
            yield images, true[:last], object_images[records.counts & (truth.labels == k)]


def _known_mean(ap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (B,) mean over the classes that have objects in a resample."""
    known = ~np.isnan(ap)
    mean: NDArray[np.float64] = np.where(known, ap, 0.0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
    return mean


def _difference(first: NDArray[np.float64], second: NDArray[np.float64], level: float) -> Difference:
    deltas = (second - first)[1:]
    deltas = deltas[~np.isnan(deltas)]
    low, high = np.quantile(deltas, [(1 - level) / 2, (1 + level) / 2]) if len(deltas) else (np.nan, np.nan)
    return Difference(float(first[0]), float(second[0]), float(low), float(high))
