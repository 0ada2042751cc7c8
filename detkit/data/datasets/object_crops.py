"""The objects of a detection dataset as images of their own, for a classifier or a localizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.annotations.coordinates import from_corners, points_to_pixels, to_corners
from detkit.annotations.dataset import AnnotationSet, select_objects
from detkit.annotations.image_files import with_sizes
from detkit.data.datasets.source import Source

KEPT_BYTES = 128 << 20


@dataclass(frozen=True)
class CroppedPixels:
    """Pixels of objects, cut out of their images.

    The first crops are kept in memory, up to `KEPT_BYTES` in each process: a crop costs its whole image.

    Attributes:
        pixels: returns the (H, W, 3) uint8 RGB pixels of an image of the dataset.
        windows: (M, 5) int64 in shared memory: image, then x1 y1 x2 y2 in its pixels.
        num_kept: how many are kept.
    """

    pixels: Callable[[int], NDArray[np.uint8]]
    windows: torch.Tensor
    num_kept: int
    _kept: dict[int, NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, crop: int) -> NDArray[np.uint8]:
        """Return the (h, w, 3) uint8 RGB pixels of a crop."""
        if crop in self._kept:
            return self._kept[crop].copy()
        image, x1, y1, x2, y2 = self.windows[crop].tolist()
        cut = self.pixels(image)[y1:y2, x1:x2].copy()
        if crop < self.num_kept:
            self._kept[crop] = cut.copy()
        return cut


def object_crops(source: Source, context: float, jitter: float = 0.0, *, whole: bool = True) -> Source:
    """Return one image for each object that is neither difficult nor a crowd, of the object's class.

    Args:
        source: the detection dataset, whose images are N.
        context: by what fraction of its width and height a box is widened to each side, within its image.
        jitter: by what fraction of itself each of the four widenings may change, by chance that is always the
            same.
        whole: whether the crop is the box of its object, for a classifier, or the object keeps its own.

    Returns:
        M images, each with one object.
    """
    truth = with_sizes(source.annotations)
    truth = select_objects(truth, ~(truth.difficult | truth.crowd))
    owner = truth.image_index()
    corners = to_corners(truth.boxes, truth.box_format)
    sides = np.tile(corners[:, 2:] - corners[:, :2], 2)
    margins = context * sides * (1 + jitter * np.random.default_rng(0).uniform(-1.0, 1.0, sides.shape))
    low = np.floor(np.maximum(corners[:, :2] - margins[:, :2], 0))
    high = np.ceil(np.minimum(corners[:, 2:] + margins[:, 2:], truth.sizes[owner, ::-1]))
    visible = np.all(high > low, axis=1)
    windows = np.column_stack([owner, low, high])[visible].astype(np.int64)
    shared = torch.from_numpy(windows).clone()
    shared.share_memory_()  # type: ignore[no-untyped-call]
    crops = _crops(select_objects(truth, visible), windows, whole=whole)
    sizes = 3 * np.prod(windows[:, 3:] - windows[:, 1:3], axis=1)
    num_kept = int(np.searchsorted(np.cumsum(sizes), KEPT_BYTES, side="right"))
    return Source(crops, CroppedPixels(source.pixels, shared, num_kept))


def _crops(truth: AnnotationSet, windows: NDArray[np.int64], *, whole: bool) -> AnnotationSet:
    """Return M objects as M images, named by their image and their number in it."""
    owner, count = truth.image_index(), truth.num_objects
    size = windows[:, [4, 3]] - windows[:, [2, 1]]
    number = np.arange(count) - truth.offsets[owner] + 1
    names = [f"{truth.image_files[i]}#{n}" for i, n in zip(owner, number, strict=True)]
    corners = np.column_stack([np.zeros((count, 2)), size[:, ::-1]]).astype(np.float64)
    points = truth.keypoints
    if points is not None:
        points = points - np.pad(windows[:, None, 1:3], ((0, 0), (0, 0), (0, 1)))
        places = points_to_pixels(points, truth.box_format)[:, :, :2]
        points[((places < 0) | (places >= size[:, None, ::-1])).any(axis=2), 2] = 0
    if not whole:
        moved = to_corners(truth.boxes, truth.box_format) - np.tile(windows[:, 1:3], 2)
        corners = np.clip(moved, 0, corners[:, [2, 3, 2, 3]])
    return replace(
        truth,
        image_files=np.asarray(names, dtype=np.str_),
        image_ids=np.arange(1, count + 1, dtype=np.int64),
        sizes=size.astype(np.int32),
        offsets=np.arange(count + 1, dtype=np.int64),
        boxes=from_corners(corners, truth.box_format),
        areas=np.prod(size, axis=1).astype(np.float64) if whole else truth.areas,
        ids=np.arange(1, count + 1, dtype=np.int64),
        sources=truth.sources[owner],
        keypoints=points,
    )
