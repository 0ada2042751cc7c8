"""Boxes of a whole batch in tensors of constant shape: what an exported graph computes with.

Where a detector keeps as many boxes as there happen to be, a graph keeps a fixed number of places; a score of
minus infinity marks those that hold nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.ops.nms import nms

NOTHING = float("-inf")


def clip_each(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Return the boxes of each image cut off at its borders.

    Args:
        boxes: (B, ..., 4) corner boxes in pixels.
        sizes: (B, 2) height and width of each image in pixels.

    Example:
        >>> clip_each(torch.tensor([[[-5.0, 2.0, 30.0, 40.0]]]), torch.tensor([[20, 25]]))
        tensor([[[ 0.,  2., 25., 20.]]])
    """
    limits = sizes.flip(1).repeat(1, 2).to(boxes.dtype)
    return boxes.clamp(min=0).minimum(limits.view(-1, *[1] * (boxes.dim() - 2), 4))


def best_of(scores: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Return the best scores of each row, best first, and their places.

    Args:
        scores: (B, N), of which some may be minus infinity.
        num: how many; where there are fewer, the rest is minus infinity, at a place that exists.

    Example:
        >>> best_of(torch.tensor([[0.5, 0.9]]), 3)
        (tensor([[0.9000, 0.5000,   -inf]]), tensor([[1, 0, 1]]))
    """
    best, places = F.pad(scores, (0, num), value=NOTHING).topk(num, dim=1)
    return best, places.clamp(max=scores.shape[1] - 1)


def rows_at(values: Tensor, places: Tensor) -> Tensor:
    """Return (B, n, D) rows of (B, N, D) values, those at (B, n) places.

    Example:
        >>> rows_at(torch.arange(6).view(1, 3, 2), torch.tensor([[2, 0]]))
        tensor([[[4, 5],
                 [0, 1]]])
    """
    return values.gather(1, places[:, :, None].expand(-1, -1, values.shape[2]))


def unsuppressed(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Return the scores of groups of boxes, minus infinity where a better box of the group overlaps too much.

    Args:
        boxes: (G, N, 4) corner boxes in pixels.
        scores: (G, N), minus infinity where there is no box.
        iou: a box is dropped when its IoU with a kept better one is greater than this.

    Returns:
        (G, N) scores.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 0.0, 30.0, 10.0]]])
        >>> unsuppressed(boxes, torch.tensor([[0.5, 0.75, 0.25]]), 0.5)
        tensor([[  -inf, 0.7500, 0.2500]])
    """
    return scores.masked_fill(~keeps(boxes, scores, iou), NOTHING)


@torch.library.custom_op("detkit::keeps", mutates_args=())
def keeps(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Return (G, N) bool: non-maximum suppression keeps the box; see `unsuppressed`.

    An operator, so that each format can put its own in the place: `detkit.inference.export`.
    """
    kept = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    for own, group, score in zip(kept, boxes, scores, strict=True):
        places = torch.nonzero(score > NOTHING).squeeze(1)
        own[places[nms(group[places], score[places], iou)]] = True
    return kept


@keeps.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    return torch.empty(scores.shape, dtype=torch.bool, device=scores.device)
