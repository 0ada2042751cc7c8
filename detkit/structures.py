"""The values that travel between the rooms of the house, and the conventions they keep.

Boxes are `(N, 4)` float32 tensors `x1, y1, x2, y2` in absolute pixels, continuous: `width = x2 - x1`,
and the pixel in the top-left corner covers `[0, 1) x [0, 1)`. Labels run from 0 to K-1 for the K
foreground classes; only heads know background, as column K. Empty is ordinary: `(0, 4)` goes in and
`(0, ...)` comes out. Device and dtype follow the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and deviation of the red, green and blue of ImageNet's images, as shares of 255: networks see values
less the mean, over the deviation."""


@dataclass(frozen=True)
class Target:
    """The labelled objects of one image, in the pixels of the image they travel with.

    Attributes:
        boxes: (N, 4) float32 corner boxes in pixels.
        labels: (N,) int64 class indices in [0, K).
        difficult: (N,) bool; VOC's "difficult" objects. Whether they train is a config value.
        crowd: (N,) bool; COCO's regions that hold many objects. They are never positives.
        proposals: (P, 4) float32 boxes where a detector brings its own, otherwise None.
        image: index of the image in its dataset; it seeds sampling and names the image in errors.
        keypoints: (N, P, 3) float32 x and y in pixels, and visibility: 0 is not labelled, 1 hidden, 2
            visible; None in a dataset without.
        mirrored: for each key point the place of the one that it becomes in a mirror.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    crowd: Tensor
    proposals: Tensor | None = None
    image: int = 0
    keypoints: Tensor | None = None
    mirrored: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Target:
        """Return the same target on `device`."""
        return replace(
            self,
            boxes=self.boxes.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            difficult=self.difficult.to(device, non_blocking=True),
            crowd=self.crowd.to(device, non_blocking=True),
            proposals=None if self.proposals is None else self.proposals.to(device, non_blocking=True),
            keypoints=None if self.keypoints is None else self.keypoints.to(device, non_blocking=True),
        )

    @staticmethod
    def of(boxes: Tensor, labels: Tensor, image: int = 0) -> Target:
        """Return a target without difficult objects, crowds or proposals.

        Args:
            boxes: (N, 4) corner boxes in pixels.
            labels: (N,) class indices.
            image: index of the image in its dataset.
        """
        flags = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        return Target(boxes, labels, flags, flags, None, image)


@dataclass(frozen=True)
class Detections:
    """Detections of one image on the model's device, best score first: what every `detect` returns.

    `detkit.inference.prediction.Prediction` is the same for people, named and in pixels of the image file;
    `detkit.annotations.dataset.DetectionSet` holds those of a whole dataset for evaluation.

    Attributes:
        boxes: (N, 4) float32 corner boxes in pixels.
        scores: (N,) float32 in [0, 1].
        labels: (N,) int64 class indices in [0, K).
        margins: (N,) float32 what SVMs say, of which the scores are the logistic function; None for a
            detector that decides otherwise.
        parts: (N, P, 4) corner boxes of each object's parts, perhaps beyond the image; None for a detector
            that knows no parts.
        keypoints: (N, P, 2) x and y of each object's key points, perhaps beyond the image; None for a
            detector that knows none.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    margins: Tensor | None = None
    parts: Tensor | None = None
    keypoints: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, rows: Tensor | slice) -> Detections:
        """Return some of the detections: those at (n,) places, where (N,) bool is True, or of a slice."""
        return self._each(lambda values: values[rows])

    def to(self, device: torch.device | str) -> Detections:
        """Return the same detections on `device`."""
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Detections:
        known = {name: values for name, values in vars(self).items() if values is not None}
        return replace(self, **{name: change(values) for name, values in known.items()})

    @staticmethod
    def joined(several: Sequence[Detections]) -> Detections:
        """Return the detections of several, at least one, in their order."""
        known = [name for name, values in vars(several[0]).items() if values is not None]
        return Detections(**{name: torch.cat([getattr(one, name) for one in several]) for name in known})

    @staticmethod
    def empty(device: torch.device | str = "cpu") -> Detections:
        """Return no detections."""
        return Detections(
            torch.zeros((0, 4), device=device),
            torch.zeros(0, device=device),
            torch.zeros(0, dtype=torch.int64, device=device),
        )


@dataclass(frozen=True)
class ImageBatch:
    """Images of different sizes, padded at the right and bottom to one tensor.

    Attributes:
        pixels: (B, 3, H, W); uint8 RGB from the loader, float after a detector normalised it
            (padding is zero after normalisation). Memory format channels-last.
        sizes: (height, width) in pixels of each image inside the padding.
        originals: (height, width) in pixels of each image file before resizing.
        proposals: (P_i, 4) float32 boxes for each image in pixels of `pixels`, for a detector that
            is given proposals; None for one that makes its own.
    """

    pixels: Tensor
    sizes: tuple[tuple[int, int], ...]
    originals: tuple[tuple[int, int], ...]
    proposals: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def pixel_px(self) -> tuple[float, ...]:
        """How many pixels of `pixels` a pixel of each image's file is wide."""
        return tuple(max(size) / max(old) for size, old in zip(self.sizes, self.originals, strict=True))

    def part(self, start: int, stop: int) -> ImageBatch:
        """Return the images from `start` to `stop`, with their padding."""
        proposals = None if self.proposals is None else self.proposals[start:stop]
        return ImageBatch(
            self.pixels[start:stop], self.sizes[start:stop], self.originals[start:stop], proposals
        )

    def to(self, device: torch.device) -> ImageBatch:
        """Return the same batch on `device`."""
        proposals = self.proposals
        if proposals is not None:
            proposals = tuple(boxes.to(device, non_blocking=True) for boxes in proposals)
        return replace(self, pixels=self.pixels.to(device, non_blocking=True), proposals=proposals)


@dataclass(frozen=True)
class PaddedBatch:
    """Images as an exported graph takes them: tensors alone, so that any number and size may come.

    Attributes:
        pixels: (B, 3, H, W) uint8 RGB, or float where they are normalised; padded at the right and bottom.
        sizes: (B, 2) int64 height and width in pixels of each image inside the padding.
        originals: (B, 2) int64 height and width in pixels of each image file before resizing.
        proposals: (B, P, 4) float32 boxes in pixels of `pixels`, for a detector that is given some.
        counts: (B,) int64 how many of its P rows are an image's; the rest fills up.
    """

    pixels: Tensor
    sizes: Tensor
    originals: Tensor
    proposals: Tensor | None = None
    counts: Tensor | None = None

    @property
    def given(self) -> tuple[Tensor, Tensor]:
        """The (B, P, 4) proposals, and (B, P) bool: which of them are there."""
        assert self.proposals is not None
        assert self.counts is not None
        places = torch.arange(self.proposals.shape[1], device=self.counts.device)
        return self.proposals, places < self.counts[:, None]


@dataclass(frozen=True)
class PaddedDetections:
    """Detections of a batch as an exported graph gives them: filled up with zeros to one number N.

    Attributes:
        boxes: (B, N, 4) float32 corner boxes in pixels, best first.
        scores: (B, N) float32 in [0, 1].
        labels: (B, N) int64 class indices in [0, K).
        counts: (B,) int64 how many of its N rows are an image's.
        keypoints: (B, N, P, 2) x and y in pixels; None for a detector without.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    counts: Tensor
    keypoints: Tensor | None = None

    @staticmethod
    def of(boxes: Tensor, scores: Tensor, labels: Tensor) -> PaddedDetections:
        """Return detections best first, of which those with a score of minus infinity are not there."""
        there = scores > float("-inf")
        return PaddedDetections(
            boxes.masked_fill(~there[:, :, None], 0.0),
            scores.masked_fill(~there, 0.0),
            labels.masked_fill(~there, 0),
            there.sum(dim=1),
        )


@dataclass(frozen=True)
class TrainBatch:
    """One batch for training: padded images and the target of each.

    Attributes:
        images: the B images.
        targets: B targets in the pixels of `images`.
        seed: seeds the random choice of anchors and regions together with each target's image
            index, so that neither the batch's make-up nor the number of processes changes it.
    """

    unit: ClassVar[str] = "images"
    images: ImageBatch
    targets: tuple[Target, ...]
    seed: int = 0

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.images.pixels.device

    @property
    def numbers(self) -> tuple[int, ...]:
        """Index in the dataset of each image."""
        return tuple(target.image for target in self.targets)

    def part(self, start: int, stop: int) -> TrainBatch:
        """Return the images from `start` to `stop`, with their padding."""
        return TrainBatch(self.images.part(start, stop), self.targets[start:stop], self.seed)

    def content(self) -> dict[str, Any]:
        """Return plain values and tensors on the CPU, for a file that shows what went wrong."""
        return {
            "pixels": self.images.pixels.cpu(),
            "sizes": self.images.sizes,
            "boxes": [target.boxes.cpu() for target in self.targets],
            "labels": [target.labels.cpu() for target in self.targets],
            "difficult": [target.difficult.cpu() for target in self.targets],
            "crowd": [target.crowd.cpu() for target in self.targets],
        }

    def to(self, device: torch.device) -> TrainBatch:
        """Return the same batch on `device`."""
        return replace(self, images=self.images.to(device), targets=tuple(t.to(device) for t in self.targets))


class RegionDecision(NamedTuple):
    """What a model says of R given regions, with gradient to the pixels.

    Attributes:
        logits: (R, K) outputs before the softmax, or the margins of SVMs.
        scores: (R, K) in [0, 1].
        boxes: (R, K or 1, 4) the regions as they are moved, in pixels of the batch; None for a model that
            moves none.
    """

    logits: Tensor
    scores: Tensor
    boxes: Tensor | None


class Trace(NamedTuple):
    """What became of N candidates of one image: boxes that might have been reported, each for one class.

    Attributes:
        steps: names of what drops candidates, in the order of the detector.
        regions: (N, 4) where it was looked, in pixels of the batch.
        boxes: (N, 4) the box that would be reported.
        labels: (N,) its class.
        scores: (N,) its score in [0, 1].
        dropped: (N,) place in `steps` of the one that dropped it; their number, where it is reported.
        by: (N,) place of the better candidate that suppressed it; -1 where none did.
        objectness: (N,) what a proposal network says of the region, in [0, 1]; None without one.
        ranks: (N,) place of the region among all proposals of its map before suppression, 0 for the best;
            None without a proposal network.
        anchors: (N, 4) what the proposal network moved to the region.
        levels: (N,) which of several maps or sizes of the image the region is read from; None of one.
        between: (S, N, 4) boxes of the stages before the last, for a cascade of heads.
        parts: (N, P, 4) where the parts of an object are; None for a detector without.
    """

    steps: tuple[str, ...]
    regions: Tensor
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    dropped: Tensor
    by: Tensor
    objectness: Tensor | None = None
    ranks: Tensor | None = None
    anchors: Tensor | None = None
    levels: Tensor | None = None
    between: Tensor | None = None
    parts: Tensor | None = None

    @property
    def reported(self) -> Tensor:
        """(N,) bool: whether a candidate is among the detections."""
        return self.dropped == len(self.steps)

    @staticmethod
    def empty(steps: tuple[str, ...]) -> Trace:
        """Return no candidates."""
        none, rows = torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64)
        return Trace(steps, none, none, rows, torch.zeros(0), rows, rows)
