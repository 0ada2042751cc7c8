"""Regions that are negatives of the SVM of a class."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.ops.boxes import pairwise_ioa, pairwise_iou
from detkit.structures import Target


def negatives_of_classes(
    boxes: Tensor, target: Target, num_classes: int, *, below_iou: float, crowd_iou: float
) -> Tensor:
    """Return of which classes each region is a negative: those none of whose objects it overlaps much.

    Objects of other classes play no part: a box right on a dog is a negative of every other class. Regions
    that overlap more, but are not objects themselves, are neither positive nor negative. Difficult objects
    keep regions from being negatives as others do, and a crowd those that lie in it.

    Args:
        boxes: (N, 4) regions in pixels.
        target: the image's objects.
        num_classes: K.
        below_iou: a negative overlaps each object of the class by less (0.3 in R-CNN).
        crowd_iou: a region that lies in a crowd of the class by more than this share is no negative.

    Returns:
        (N, K) bool.

    Reference: Girshick et al., CVPR 2014, section 2.3 and appendix B.
    """
    negative = torch.ones((len(boxes), num_classes), dtype=torch.bool, device=boxes.device)
    close = (pairwise_iou(boxes, target.boxes) >= below_iou) & ~target.crowd
    close |= (pairwise_ioa(boxes, target.boxes) > crowd_iou) & target.crowd
    for label in set(target.labels.tolist()):
        negative[:, label] = ~close[:, target.labels == label].any(dim=1)
    return negative
