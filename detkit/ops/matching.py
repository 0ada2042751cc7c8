"""Matching of anchors or proposals to objects, for training."""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUND = -1
"""The box shows no object."""

IGNORED = -2
"""The box takes no part in training."""


def match(
    iou: Tensor,
    fg_iou: float,
    bg_iou: tuple[float, float],
    force: bool,
    reached: Tensor | None = None,
) -> Tensor:
    """Return the object each box stands for, or that it is background or ignored.

    A box takes its best object from IoU `fg_iou` on (of equal ones the first); it is background where its
    best IoU lies in `[low, high)`; between the two it is ignored. With `force` every box that reaches an
    object's best IoU is positive, too, however small that IoU, as long as it is not 0. Such a box stands
    for its own best object, which may be another one: so do Faster R-CNN and all its descendants.

    Args:
        iou: (N, M) intersection over union of N boxes with M objects.
        fg_iou: lowest IoU of a positive box.
        bg_iou: lowest (included) and highest (excluded) best IoU of background.
        force: whether each object also gets its best boxes.
        reached: (M,) best IoU of each object over all boxes, where `iou` has only some of them.

    Returns:
        (N,) int64 index of an object, `BACKGROUND` or `IGNORED`. Without objects every best IoU is 0.

    Example:
        >>> match(torch.tensor([[0.8, 0.0], [0.4, 0.1], [0.0, 0.3], [0.0, 0.1]]), 0.7, (0.0, 0.3), True)
        tensor([ 0, -2,  1, -1])

    Reference: Ren et al., Faster R-CNN, NeurIPS 2015.
    """
    if iou.shape[1] == 0:
        nothing = BACKGROUND if bg_iou[0] <= 0 < bg_iou[1] else IGNORED
        return torch.full((len(iou),), nothing, dtype=torch.int64, device=iou.device)
    best, own = iou.max(dim=1)
    matches = torch.full_like(own, IGNORED)
    matches[(best >= bg_iou[0]) & (best < bg_iou[1])] = BACKGROUND
    positive = best >= fg_iou
    if force and len(iou) > 0:
        # An object that no box touches has best IoU 0, which ties with all other boxes; so it is left out.
        reached = iou.amax(dim=0) if reached is None else reached
        positive |= ((iou == reached) & (reached > 0)).any(dim=1)
    return torch.where(positive, own, matches)
