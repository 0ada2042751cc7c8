"""Test-time augmentation: an image seen mirrored and in several sizes, and what was found there as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from detkit.data.transforms.geometric import Flip, Transform
from detkit.data.transforms.resize import scaled_rule
from detkit.ops.boxes import pairwise_iou
from detkit.structures import Detections, Target


@dataclass(frozen=True)
class AugmentedView:
    """A transform of an image that is looked at, and the way back.

    Attributes:
        resize: sets the size; it moves proposals, too.
        mirrored: whether left and right are exchanged first.
        other_sides: for each key point the place of the one that it is taken for in a mirror.
    """

    resize: Transform
    mirrored: bool
    other_sides: tuple[int, ...] = ()

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator
    ) -> tuple[Tensor, Target]:
        """Return the image and target as they are looked at."""
        if self.mirrored:
            image, target = Flip(1.0, "horizontal")(image, target, generator)
        return self.resize(image, target, generator)

    def restored(self, found: Detections, width: int) -> Detections:
        """Return what a detector found in the view where it is in the image.

        Args:
            found: detections in pixels of the image's file, as if it were mirrored where the view is.
            width: of the image's file in pixels.
        """
        if not self.mirrored:
            return found
        parts = None if found.parts is None else mirrored_back(found.parts, width)
        points = found.keypoints
        if points is not None:
            across, down = points[:, list(self.other_sides)].unbind(-1)
            points = torch.stack([width - across, down], dim=-1)
        return replace(found, boxes=mirrored_back(found.boxes, width), parts=parts, keypoints=points)


def mirrored_back(boxes: Tensor, width: float) -> Tensor:
    """Return (..., 4) corner boxes with left and right exchanged in an image of that width.

    Example:
        >>> mirrored_back(torch.tensor([[0.0, 1.0, 3.0, 4.0]]), 10)
        tensor([[ 7.,  1., 10.,  4.]])
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)


@dataclass(frozen=True)
class Augmentation:
    """How an image is seen in a test, and how what was found is made one.

    Attributes:
        views: what is looked at.
        iou: detections of a class that overlap more are taken for one object.
        max_detections: at most so many for an image.
    """

    views: tuple[AugmentedView, ...]
    iou: float
    max_detections: int

    @staticmethod
    def of(
        resize: Transform,
        *,
        flip: bool,
        scales: Sequence[float],
        iou: float,
        max_detections: int,
        other_sides: tuple[int, ...] = (),
    ) -> Augmentation:
        """Return the augmentation at each of the scales, as shares of the usual size, and mirrored there.

        Args:
            resize: the size rule that the detector was trained with.
            flip: whether mirrored images are looked at, too.
            scales: factors of its size.
            iou: see `Augmentation`.
            max_detections: see `Augmentation`.
            other_sides: see `AugmentedView`.
        """
        sizes = [scaled_rule(resize, scale) for scale in scales]
        mirrored = (False, True) if flip else (False,)
        views = tuple(AugmentedView(size, side, other_sides) for size in sizes for side in mirrored)
        return Augmentation(views, iou, max_detections)

    def merged(self, parts: Sequence[Detections], width: int) -> Detections:
        """Return the detections of an image from those of all its views, in their order.

        Args:
            parts: what was found in each view.
            width: of the image's file in pixels.
        """
        restored = [view.restored(part, width) for view, part in zip(self.views, parts, strict=True)]
        return weighted_boxes_fusion(restored, self.iou, self.max_detections)


def weighted_boxes_fusion(parts: Sequence[Detections], iou: float, max_detections: int) -> Detections:
    """Return detections that several views of an image agree on, best first.

    Boxes that overlap are averaged, weighted by their scores. The mean score is lowered by the share of the
    views that did not find the object. Margins become those of the new scores; the parts are those of the
    best box.

    Args:
        parts: the detections of each view, in the same pixels.
        iou: a box belongs to the fused box of its class that it overlaps most, if by more than this.
        max_detections: at most so many are returned.

    Reference: Solovyev et al., Weighted Boxes Fusion, Image and Vision Computing 2021, with equation 5.

    Example:
        >>> one = Detections(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([0.75]), torch.tensor([0]))
        >>> other = Detections(one.boxes + torch.tensor([1.0, 0, 1, 0]), one.scores / 3, one.labels)
        >>> found = weighted_boxes_fusion([one, other], iou=0.55, max_detections=100)
        >>> found.boxes, found.scores
        (tensor([[ 0.2500,  0.0000, 10.2500, 10.0000]]), tensor([0.5000]))
    """
    given = Detections.joined(parts)
    given = given.at(torch.sort(given.scores, descending=True, stable=True).indices)
    fused = [_fused(given.at(given.labels == label), iou, len(parts)) for label in set(given.labels.tolist())]
    found = Detections.joined(fused) if fused else given
    return found.at(torch.sort(found.scores, descending=True, stable=True).indices[:max_detections])


def _fused(found: Detections, iou: float, views: int) -> Detections:
    """Return the fused boxes of one class, of detections that come best first."""
    boxes = torch.zeros_like(found.boxes)
    weights, counts = torch.zeros_like(found.scores), torch.zeros_like(found.scores)
    firsts: list[int] = []
    for row, (box, score) in enumerate(zip(found.boxes, found.scores, strict=True)):
        place, number = len(firsts), len(firsts)
        if number:
            overlap, best = pairwise_iou(box[None], boxes[:number])[0].max(dim=0)
            place = int(best) if overlap > iou else number
        if place == number:
            firsts.append(row)
        # A score of 0 weighs nothing, and its box must not become NaN.
        weight = score.clamp(min=torch.finfo(score.dtype).tiny)
        boxes[place] = (boxes[place] * weights[place] + box * weight) / (weights[place] + weight)
        weights[place] += weight
        counts[place] += 1
    count = len(firsts)
    scores = weights[:count] / counts[:count] * counts[:count].clamp(max=views) / views
    margins = None if found.margins is None else torch.logit(scores, eps=1e-6)
    return replace(found.at(torch.tensor(firsts)), boxes=boxes[:count], scores=scores, margins=margins)
