"""Non-maximum suppression: of boxes that overlap, keep the best."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Return the boxes that no better one overlaps by more than `iou`, best first.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        scores: (N,) scores.
        iou: a box is dropped when its IoU with a kept better one is greater than this.

    Returns:
        (kept,) int64 positions in decreasing order of score.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 0.0, 30.0, 10.0]])
        >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5)
        tensor([1, 2])
    """
    keep: Tensor = torchvision.ops.nms(boxes.float(), scores.float(), iou)
    return keep


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    """Return what `nms` keeps of each group alone (a class, a feature map), best first over all.

    Each group is suppressed by itself: moving groups apart and running once, the usual trick, rounds the
    coordinates of large groups.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        scores: (N,) scores.
        groups: (N,) integers; boxes of different groups never suppress one another.
        iou: see `nms`.

    Returns:
        (kept,) int64 positions in decreasing order of score; of equal scores the lower position first.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(3, 1)
        >>> grouped_nms(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([0, 0, 1]), 0.5)
        tensor([1, 2])
    """
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    by_group = groups.argsort(stable=True)
    counts = torch.unique_consecutive(groups[by_group], return_counts=True)[1].tolist()
    members = torch.split(by_group, counts)
    kept = torch.cat([rows[nms(boxes[rows], scores[rows], iou)] for rows in members])
    kept = kept.sort().values
    return kept[scores[kept].sort(descending=True, stable=True).indices]
