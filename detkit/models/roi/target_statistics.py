"""How far, and which way, objects usually lie from the regions that stand for them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from detkit.models.roi.roi_head import RoIHead
from detkit.structures import Target

FEWEST = 30
"""A class with fewer regions says too little about itself, and is given the numbers of all classes."""


class TargetMoments:
    """Sums over the box regression targets of a training set, class by class.

    Args:
        num_rows: K, or 1 where all classes share one box regression.
    """

    def __init__(self, num_rows: int) -> None:
        self._count = torch.zeros((num_rows, 1), dtype=torch.float64)
        self._sum = torch.zeros((num_rows, 4), dtype=torch.float64)
        self._squares = torch.zeros((num_rows, 4), dtype=torch.float64)

    def add(self, labels: Tensor, encoded: Tensor) -> None:
        """Count regions with an object.

        Args:
            labels: (F,) the rows they belong to.
            encoded: (F, 4) their targets.
        """
        values = encoded.double()
        self._count.index_add_(0, labels, torch.ones((len(labels), 1), dtype=torch.float64))
        self._sum.index_add_(0, labels, values)
        self._squares.index_add_(0, labels, values**2)

    def mean_and_std(self, mirrored_x: float, mirrored_y: float) -> tuple[Tensor, Tensor]:
        """Return the means and deviations.

        Args:
            mirrored_x: how often an image is mirrored left to right, in [0, 1]; dx changes its sign then.
            mirrored_y: how often it is turned upside down.

        Returns:
            Two (K or 1, 4) float32 tensors. Classes with few regions share the numbers of all; where there is
            no region at all they are 0 and 1, and so is a deviation of 0.

        Example:
            >>> moments = TargetMoments(1)
            >>> moments.add(torch.tensor([0, 0]), torch.tensor([[1.0, 1.0, 0.0, 2.0], [3.0, 1.0, 0.0, 2.0]]))
            >>> moments.mean_and_std(0.0, 0.0)
            (tensor([[2., 1., 0., 2.]]), tensor([[1., 1., 1., 1.]]))
            >>> moments.mean_and_std(0.5, 0.0)[0]
            tensor([[0., 1., 0., 2.]])
        """
        few = self._count < FEWEST
        total, sums, squares = (
            torch.where(few, values.sum(0, keepdim=True), values)
            for values in (self._count, self._sum, self._squares)
        )
        count = total.clamp(min=1)
        kept = torch.tensor([1 - 2 * mirrored_x, 1 - 2 * mirrored_y, 1.0, 1.0], dtype=torch.float64)
        mean = sums / count * kept
        std = (squares / count - mean**2).clamp(min=0).sqrt()
        return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def target_moments(images: Iterable[tuple[Tensor, Target]], head: RoIHead, num_rows: int) -> TargetMoments:
    """Return the moments over all regions that stand for an object, the labelled boxes themselves included.

    Args:
        images: for each image, the (P, 4) proposals and the objects, in the same pixels.
        head: says which regions stand for an object, and encodes.
        num_rows: K, or 1 where all classes share one box regression.

    Reference: Girshick, Fast R-CNN, ICCV 2015, section 2.3.
    """
    moments = TargetMoments(num_rows)
    for proposals, target in images:
        boxes, matches = head.labelled(proposals, target)
        rows = torch.nonzero(matches >= 0).squeeze(1)
        objects = matches[rows]
        labels = target.labels[objects] if num_rows > 1 else torch.zeros_like(objects)
        moments.add(labels, head.coder.encode(target.boxes[objects], boxes[rows]))
    return moments
