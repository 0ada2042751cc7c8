"""Image size, anchors and frozen stages chosen from the statistics of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet

# An object should cover about three cells of the map it is found on; below two, neighbours melt together.
CELLS_PER_OBJECT = 3.0
MAX_ENLARGEMENT = 1.5
SHORT_PX_RANGE = (320, 800)
USUAL_SHORT_PX = 600
# Square anchors a factor s apart overlap an object between them by at least 1/s: 0.62.
ANCHOR_STEP = 1.6
NUM_ANCHOR_SIZES = (3, 6)
RATIO_LIMIT = 3.0
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
        narrow: the 10th percentile of height / width of the widest class.
        tall: the 90th percentile of height / width of the tallest class.
        short_px: the median short side of the images.
        long_px: the median long side.
    """

    small_px: float
    large_px: float
    narrow: float
    tall: float
    short_px: float
    long_px: float


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
    size, ratio = np.sqrt(width[usable] * height[usable]), height[usable] / width[usable]
    labels = annotations.labels[usable]
    groups = [labels == label for label in np.unique(labels)]
    short, long = np.median(np.sort(image_sizes, axis=1), axis=0)
    return ObjectSizes(
        small_px=min(float(np.percentile(size[g], 10)) for g in groups),
        large_px=max(float(np.percentile(size[g], 90)) for g in groups),
        narrow=min(float(np.percentile(ratio[g], 10)) for g in groups),
        tall=max(float(np.percentile(ratio[g], 90)) for g in groups),
        short_px=float(short),
        long_px=float(long),
    )


def choose_resize(sizes: ObjectSizes, stride: int) -> tuple[int, int]:
    """Return (short_px, long_px) at which the small objects cover about three cells of a feature map.

    Images are enlarged for it by at most half again, and never shrunk below the usual 600 px unless
    they are smaller themselves.

    Args:
        sizes: what `measure_objects` found.
        stride: pixels between two cells of the finest feature map.

    Example:
        >>> choose_resize(ObjectSizes(38, 240, 0.8, 1.2, 480, 640), stride=16)
        (608, 811)
    """
    wanted = sizes.short_px * CELLS_PER_OBJECT * stride / sizes.small_px
    usual = min(sizes.short_px, USUAL_SHORT_PX)
    largest = min(SHORT_PX_RANGE[1], sizes.short_px * MAX_ENLARGEMENT)
    short = min(max(wanted, usual, SHORT_PX_RANGE[0]), max(largest, SHORT_PX_RANGE[0]))
    short = round(short / 16) * 16
    # Panoramas are rare enough that the limit follows the ordinary image, with the paper's 5:3 at least.
    return short, int(np.ceil(short * max(sizes.long_px / sizes.short_px, 4 / 3)))


def choose_anchor_sizes(sizes: ObjectSizes, scale: float, num_maps: int) -> tuple[tuple[float, ...], ...]:
    """Return anchor sizes for each feature map, in pixels of the resized image.

    Args:
        sizes: what `measure_objects` found.
        scale: resized pixels per pixel of the image.
        num_maps: 1 (all sizes on one map), or the maps of a pyramid (each twice as large as the last).

    Example:
        >>> choose_anchor_sizes(ObjectSizes(40, 200, 0.8, 1.2, 480, 640), 1.0, num_maps=1)
        ((49.0, 73.0, 109.0, 164.0),)
    """
    small, large = sizes.small_px * scale, max(sizes.large_px, sizes.small_px) * scale
    if num_maps > 1:
        # Five doublings span a factor of 16; their middle goes to the middle of the objects' range.
        first = float(np.clip(round(np.sqrt(small * large) / 2 ** ((num_maps - 1) / 2)), 8, 64))
        return tuple((first * 2**level,) for level in range(num_maps))
    wanted = int(np.ceil(np.log(large / small) / np.log(ANCHOR_STEP)))
    count = int(np.clip(wanted, *NUM_ANCHOR_SIZES))
    # Each size stands in the middle of its share of the range (on a log scale), so that no object is
    # farther than half a step from one.
    centres = (np.arange(count) + 0.5) / count
    return (tuple(float(round(small * (large / small) ** c)) for c in centres),)


def choose_ratios(sizes: ObjectSizes) -> tuple[float, ...]:
    """Return three ratios of height to width that span the objects' own.

    Example:
        >>> choose_ratios(ObjectSizes(40, 200, 0.5, 2.0, 480, 640))
        (0.63, 1.0, 1.59)
    """
    low, high = np.log(np.clip([sizes.narrow, sizes.tall], 1 / RATIO_LIMIT, RATIO_LIMIT))
    return tuple(float(np.round(np.exp(low + (high - low) * share), 2)) for share in (1 / 6, 0.5, 5 / 6))


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
