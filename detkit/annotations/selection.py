"""Takes part of an annotation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet


def select_objects(truth: AnnotationSet, kept: NDArray[np.bool_]) -> AnnotationSet:
    """Return the set with only some objects; all images stay.

    Args:
        truth: the set.
        kept: (M,) True for the objects that stay.
    """
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return replace(
        truth,
        offsets=before[truth.offsets],
        boxes=truth.boxes[kept],
        labels=truth.labels[kept],
        difficult=truth.difficult[kept],
        crowd=truth.crowd[kept],
        areas=truth.areas[kept],
        ids=truth.ids[kept],
    )


def select_images(truth: AnnotationSet, images: Sequence[int] | NDArray[np.int64]) -> AnnotationSet:
    """Return the set of only some images and their objects, in the order asked for; ids are kept.

    Args:
        truth: the set.
        images: indices of the images.
    """
    chosen = np.asarray(images, dtype=np.int64)
    starts, ends = truth.offsets[:-1][chosen], truth.offsets[1:][chosen]
    counts = ends - starts
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
    return replace(
        truth,
        image_files=truth.image_files[chosen],
        image_ids=truth.image_ids[chosen],
        sizes=truth.sizes[chosen],
        offsets=offsets,
        boxes=truth.boxes[rows],
        labels=truth.labels[rows],
        difficult=truth.difficult[rows],
        crowd=truth.crowd[rows],
        areas=truth.areas[rows],
        ids=truth.ids[rows],
        sources=truth.sources[chosen],
    )
