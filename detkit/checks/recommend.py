"""Image size, anchors and frozen stages chosen from the statistics of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet

# An object should cover about three cells of the map it is found on; below two, neighbours melt together.
CELLS_PER_OBJECT = 3.0
MAX_ENLARGEMENT = 1.5
SHORT_PX_RANGE = (320, 800)
USUAL_SHORT_PX = 600
# Each cell has at most so many anchors. Of choices that fit nearly as many objects, the one with the
# fewest is taken.
MOST_ANCHORS = 18
NEARLY = 0.005
NUM_ANCHOR_SIZES, NUM_RATIOS = range(3, 7), (3, 5)
# An anchor fits from this IoU on, as in `check`; of choices alike in that, the better mean IoU decides.
FITTING_IOU, MEAN_COUNTS = 0.5, 0.5
_ENDS = ((0, 2, 5, 10, 20), (80, 90, 95, 98, 100))  # percentiles of the objects between which anchors lie
_FIRST_PX = (8, 64)  # a pyramid's smallest anchors
_MOST_SHAPES = 2000
# Up to how many training objects (images, for a classifier) all pretrained stages stay as they are, or all
# but the last; with more the template decides. The fewer the examples, the fewer weights they can teach.
FROZEN_UP_TO = 500
LAST_STAGE_TRAINED_UP_TO = 2000


@dataclass(frozen=True)
class ObjectSizes:
    """Sizes of the objects of a dataset, class by class so that a rare class counts as much.

    Attributes:
        small_px: the 10th percentile of sqrt(area) of the class with the smallest objects.
        large_px: the 90th percentile of the class with the largest.
        short_px: the median short side of the images.
        long_px: the median long side.
        shapes: (M, 2) width and height of objects, of at most a few thousand.
        weights: (M,) what each counts: one half of it is the same for all, the other for all classes.
    """

    small_px: float
    large_px: float
    short_px: float
    long_px: float
    shapes: NDArray[np.float64]
    weights: NDArray[np.float64]


def measure_objects(annotations: AnnotationSet, image_sizes: NDArray[np.int32]) -> ObjectSizes | None:
    """Return the sizes of the objects, or None when no object has an area.

    Args:
        annotations: the labelled images.
        image_sizes: (N, 2) height and width of every image in pixels.
    """
    sides = to_corners(annotations.boxes, annotations.box_format)
    width, height = sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1]
    usable = (width > 0) & (height > 0) & ~annotations.crowd
    if not usable.any():
        return None
    shapes = np.stack((width[usable], height[usable]), axis=1)
    size = np.sqrt(shapes.prod(axis=1))
    labels, counts = np.unique(annotations.labels[usable], return_inverse=True, return_counts=True)[1:]
    groups = [labels == label for label in range(len(counts))]
    some = np.linspace(0, len(size) - 1, min(len(size), _MOST_SHAPES)).round().astype(np.int64)
    short, long = np.median(np.sort(image_sizes, axis=1), axis=0)
    return ObjectSizes(
        small_px=min(float(np.percentile(size[g], 10)) for g in groups),
        large_px=max(float(np.percentile(size[g], 90)) for g in groups),
        short_px=float(short),
        long_px=float(long),
        shapes=shapes[some],
        weights=1 / len(labels) + 1 / (len(counts) * counts[labels[some]]),
    )


def choose_resize(sizes: ObjectSizes, stride: int) -> tuple[int, int]:
    """Return (short_px, long_px) at which the small objects cover about three cells of a feature map.

    Images are enlarged for it by at most half again, and never shrunk below the usual 600 px unless
    they are smaller themselves.

    Args:
        sizes: what `measure_objects` found.
        stride: pixels between two cells of the finest feature map.

    Example:
        >>> choose_resize(ObjectSizes(38, 240, 480, 640, np.ones((1, 2)), np.ones(1)), stride=16)
        (608, 811)
    """
    wanted = sizes.short_px * CELLS_PER_OBJECT * stride / sizes.small_px
    usual = min(sizes.short_px, USUAL_SHORT_PX)
    largest = min(SHORT_PX_RANGE[1], sizes.short_px * MAX_ENLARGEMENT)
    short = min(max(wanted, usual, SHORT_PX_RANGE[0]), max(largest, SHORT_PX_RANGE[0]))
    short = round(short / 16) * 16
    # Panoramas are rare enough that the limit follows the ordinary image, with the paper's 5:3 at least.
    return short, int(np.ceil(short * max(sizes.long_px / sizes.short_px, 4 / 3)))


def choose_anchors(
    sizes: ObjectSizes, scale: float, num_maps: int, stride: int
) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Return anchor sizes for each feature map, in pixels of the resized image, and ratios.

    Of sizes and ratios at equal steps (on a log scale) between percentiles of the objects' own, those are
    taken that fit the most objects, the largest and longest like all others.

    Args:
        sizes: what `measure_objects` found.
        scale: resized pixels per pixel of the image.
        num_maps: 1 (all sizes on one map), or the maps of a pyramid (each twice as large as the last).
        stride: pixels between two cells of the finest feature map.

    Example:
        >>> squares = np.array([[20.0, 20.0], [60.0, 60.0], [180.0, 180.0]])
        >>> choose_anchors(ObjectSizes(20, 180, 480, 640, squares, np.ones(3)), 1.0, num_maps=1, stride=16)
        (((28.0, 40.0, 56.0, 78.0, 109.0, 152.0),), (1.0,))
    """
    shapes = sizes.shapes * scale
    size, ratio = np.sqrt(shapes.prod(axis=1)), shapes[:, 1] / shapes[:, 0]
    if num_maps > 1:
        firsts = sorted(set(np.geomspace(*_FIRST_PX, 25).round().tolist()))
        choices = [tuple(first * 2**level for level in range(num_maps)) for first in firsts]
    else:
        choices = list(_spread(size, NUM_ANCHOR_SIZES, 0))
    strides = stride * 2.0 ** np.arange(num_maps, dtype=np.float64)
    all_ratios = list(_spread(ratio, NUM_RATIOS, 2))

    def best(tried: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> Any:
        """Return what fits the most objects, or nearly so with fewer anchors."""
        allowed = [pair for pair in tried if num_maps > 1 or len(pair[0]) * len(pair[1]) <= MOST_ANCHORS]
        scores = [_score(shapes, sizes.weights, *pair, strides) for pair in allowed]
        good = [
            (len(pair[0]) * len(pair[1]), -score, pair)
            for pair, score in zip(allowed, scores, strict=True)
            if score >= max(scores) - NEARLY
        ]
        return min(good)[2]

    chosen = best([(choices[len(choices) // 2], ratios) for ratios in all_ratios if len(ratios) <= 3])
    for _ in range(2):
        chosen = best([(own, chosen[1]) for own in choices])
        chosen = best([(chosen[0], ratios) for ratios in all_ratios])
    own, ratios = chosen
    return (tuple((each,) for each in own) if num_maps > 1 else (own,)), ratios


def _spread(values: NDArray[np.float64], counts: Iterable[int], digits: int) -> Iterator[tuple[float, ...]]:
    """Yield numbers in the middles of equal shares (on a log scale) of ranges between percentiles."""
    for low in np.log(np.percentile(values, _ENDS[0])):
        for high in np.log(np.percentile(values, _ENDS[1])):
            for count in counts:
                centres = np.exp(low + (high - low) * (np.arange(count) + 0.5) / count)
                rounded = centres.round(digits).clip(10.0**-digits)
                yield tuple(sorted(set(rounded.tolist())))


def _score(
    shapes: NDArray[np.float64],
    weights: NDArray[np.float64],
    sizes: tuple[float, ...],
    ratios: tuple[float, ...],
    strides: NDArray[np.float64],
) -> float:
    """Return the share of the objects that an anchor fits, and a part of their mean IoU.

    Each is as far from the anchor as from the nearest cell on average.
    """
    tall = np.sqrt(ratios)
    anchors = np.stack((np.outer(sizes, 1 / tall), np.outer(sizes, tall)), axis=2)
    away = np.broadcast_to(strides[:, None, None] / 4, (len(sizes), len(ratios), 1)).reshape(-1, 1)
    anchors, shapes = anchors.reshape(-1, 2), shapes[:, None]
    sides = np.minimum(np.minimum(shapes, anchors), (shapes + anchors) / 2 - away)
    shared = sides.clip(0).prod(axis=2)
    ious = (shared / (shapes.prod(axis=2) + anchors.prod(axis=1) - shared)).max(axis=1)
    return float(np.average((ious >= FITTING_IOU) + MEAN_COUNTS * ious, weights=weights))


def choose_freeze(num_examples: int, num_stages: int, usual: int) -> tuple[int, str]:
    """Return `freeze_at` for pretrained weights, and why.

    Features from a million images are general near the input and special near the output. A few hundred
    objects cannot improve them, only spoil them; thousands can adapt the last stages (Yosinski 2014).

    Args:
        num_examples: training objects; images, for a classifier.
        num_stages: stages that have pretrained weights.
        usual: what the template freezes, which is right for thousands of examples.

    Example:
        >>> [choose_freeze(count, 4, 2)[0] for count in (60, 1000, 12_000)]
        [4, 3, 2]
    """
    if num_examples <= FROZEN_UP_TO:
        frozen, why = num_stages, f"at most {FROZEN_UP_TO:,}: too few to improve any pretrained stage"
    elif num_examples <= LAST_STAGE_TRAINED_UP_TO:
        frozen, why = (
            num_stages - 1,
            f"at most {LAST_STAGE_TRAINED_UP_TO:,}: enough to adapt the last stage alone",
        )
    else:
        frozen, why = usual, f"more than {LAST_STAGE_TRAINED_UP_TO:,}: enough for what is usually trained"
    return max(frozen, usual), f"{num_examples:,} training examples are {why}"
