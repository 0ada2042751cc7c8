"""Fit of the anchors or proposals of a detector to the objects of its dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.annotations.dataset import AnnotationSet
from detkit.capabilities import MatchesObjects
from detkit.data.datasets.index import Index
from detkit.ops.boxes import pairwise_iou
from detkit.structures import Target

MOST_IMAGES = 300  # looked at for anchors
MOST_SEARCHED = 16  # for proposals that have to be found first, which takes a second or more for each
FAIR_IOU = 0.5
BUCKETS = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, float("inf"))}
"""Square roots of areas in pixels of the resized image, as COCO divides them."""


@dataclass
class Fit:
    """How anchors or proposals fit the objects of some images.

    Attributes:
        what: `anchors` or `proposals`.
        stride: pixels of a cell of the finest feature map.
        best: the best IoU of each object looked at.
        sides: (M, 2) width and height of these objects in pixels of the resized image.
        places: image and number within it of each object.
        positives: anchors or regions with an object that were drawn in each image.
        drawn: how many are drawn in an image at most.
    """

    what: str
    stride: int
    drawn: int
    best: list[float] = field(default_factory=list)
    sides: list[tuple[float, float]] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    positives: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "what": self.what,
            "images": len(self.positives),
            "objects": len(self.best),
            "stride_px": self.stride,
            "positives_per_image": float(np.mean(self.positives)) if self.positives else None,
            "best_iou": {name: self._bucket(name) for name in BUCKETS},
        }

    def rows_of(self, bucket: str) -> NDArray[np.int64]:
        """Return the rows of the objects of a size."""
        low, high = BUCKETS[bucket]
        sizes = np.sqrt(np.prod(np.asarray(self.sides).reshape(-1, 2), axis=1))
        return np.flatnonzero((sizes >= low) & (sizes < high))

    def _bucket(self, name: str) -> dict[str, float | int | None]:
        best = np.asarray(self.best)[self.rows_of(name)]
        mean = float(best.mean()) if len(best) else None
        share = float((best >= FAIR_IOU).mean()) if len(best) else None
        return {"objects": len(best), "mean": mean, "share_0.5": share}


@dataclass(frozen=True)
class FitImages:
    """The images that a fit is measured on, as a detector would be trained on them.

    Attributes:
        index: their annotations.
        size: (height, width) of an image file -> (height, width) of what the detector reads, in pixels.
        proposals: returns the (P, 4) float32 boxes of an image in pixels of its file; None where the
            detector has anchors.
        most: how many images to look at.
    """

    index: Index
    size: Callable[[int, int], tuple[int, int]]
    proposals: Callable[[int], NDArray[np.float32]] | None = None
    most: int = MOST_IMAGES


def measure_fit(model: MatchesObjects, annotations: AnnotationSet, images: FitImages) -> Fit:
    """Lay the anchors or proposals of a detector over its objects, as training would.

    All images are looked at, or a fixed sample of many.

    Args:
        model: the detector.
        annotations: of the training images.
        images: the same images.

    Raises:
        UserError: an image cannot be read.
    """
    assert model.candidates is not None
    fit = Fit(model.candidates, model.finest_stride, model.candidates_per_image)
    for image in sample_images(annotations, images.most):
        target, scale, size = _resized(images, image)
        proposals = None if images.proposals is None else torch.tensor(images.proposals(image)) * scale
        candidates, positives = model.candidate_boxes(target, size, proposals)
        counted = ~(target.crowd | target.difficult)
        best = (
            pairwise_iou(candidates, target.boxes).amax(0) if len(candidates) else torch.zeros(len(counted))
        )
        fit.best += best[counted].tolist()
        fit.sides += [tuple(side) for side in (target.boxes[:, 2:] - target.boxes[:, :2])[counted].tolist()]
        fit.places += [(image, number) for number in torch.nonzero(counted).flatten().tolist()]
        fit.positives.append(positives)
    return fit


def sample_images(truth: AnnotationSet, most: int) -> list[int]:
    """Return at most so many images with objects, spread evenly over the set."""
    with_objects = np.flatnonzero(np.diff(truth.offsets) > 0)
    chosen = np.linspace(0, len(with_objects) - 1, min(most, len(with_objects))).round().astype(np.int64)
    return [int(image) for image in with_objects[chosen]]


def _resized(images: FitImages, image: int) -> tuple[Target, Tensor, tuple[int, int]]:
    """Return the objects of an image after the resize, the factors of x y x y, and the image's size."""
    height, width = images.index.size(image)
    size = images.size(height, width)
    scale = torch.tensor([size[1] / width, size[0] / height] * 2)
    target = images.index.target(image)
    return replace(target, boxes=target.boxes * scale), scale, size
