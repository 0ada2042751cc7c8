"""Assignment of anchors and regions to objects, and the weight of each sampled one in the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from detkit.ops.boxes import pairwise_ioa, pairwise_iou
from detkit.ops.matching import BACKGROUND, IGNORED, match
from detkit.structures import Target

CROWD_IOU = 0.7
"""A box that lies in a crowd by more than this fraction likely shows one of its objects, which nobody has
marked one by one: it would be wrong as background. The fraction is Detectron's (CROWD_FILTER_THRESH)."""

NormalizeBy = Literal["sampled", "batch_size", "batch"]

# Pairs looked at together: all anchors of a pyramid with thousands of objects would take gigabytes.
_MOST_PAIRS = 1 << 24


def assign(
    boxes: Tensor,
    target: Target,
    *,
    fg_iou: float,
    bg_iou: tuple[float, float],
    force: bool,
    crowd_iou: float,
) -> Tensor:
    """Return for each box the index of its object, BACKGROUND or IGNORED.

    Only objects that are neither difficult nor a crowd are matched. What would be background but lies on
    one of the others is neither background nor object: it is ignored.

    Args:
        boxes: (N, 4) anchors or regions in pixels.
        target: the image's objects.
        fg_iou: a box stands for its best object from this IoU on.
        bg_iou: a box is background if its best IoU is in [low, high); a difficult object keeps it from
            being so from `high` on.
        force: the best boxes of each object stand for an object at any IoU.
        crowd_iou: a crowd keeps a box from being background that lies in it by more than this share.

    Returns:
        (N,) int64 indices into the target.
    """
    left_out = target.difficult | target.crowd
    # Picking the crowds saves work on a CPU; another device would have to be waited for.
    picks = boxes.device.type == "cpu"
    crowds = target.boxes[target.crowd] if picks else target.boxes
    parts = torch.split(boxes, max(1, _MOST_PAIRS // max(1, len(target))))
    reached = None
    if force and len(parts) > 1:
        best = [pairwise_iou(part, target.boxes).amax(dim=0) for part in parts]
        reached = torch.stack(best).amax(dim=0).masked_fill(left_out, 0.0)
    found = []
    for part in parts:
        iou = pairwise_iou(part, target.boxes)
        matches = match(iou.masked_fill(left_out, 0.0), fg_iou, bg_iou, force, reached)
        unsure = ((iou >= bg_iou[1]) & target.difficult).any(dim=1)
        if len(crowds):
            within = pairwise_ioa(part, crowds) > crowd_iou
            unsure |= (within if picks else within & target.crowd).any(dim=1)
        found.append(matches.masked_fill(unsure & (matches == BACKGROUND), IGNORED))
    return torch.cat(found)


def loss_weights(
    counts: Sequence[int], normalize_by: NormalizeBy, per_image: int, device: torch.device
) -> Tensor:
    """Return what each drawn anchor or region of a batch counts, so that losses are weighted sums.

    Args:
        counts: how many were drawn in each image.
        normalize_by: `sampled` gives the mean over images of each image's mean; `batch_size` divides by
            `per_image` instead of what was drawn; `batch` gives one mean over all that were drawn.
        per_image: how many each image should have had.
        device: where the weights are needed.

    Returns:
        (sum of counts,) float32 weights, image by image.

    Example:
        >>> loss_weights([1, 2], "sampled", 4, torch.device("cpu"))
        tensor([0.5000, 0.2500, 0.2500])
    """
    match normalize_by:
        case "sampled":
            divisors = [max(count, 1) * len(counts) for count in counts]
        case "batch_size":
            divisors = [per_image * len(counts)] * len(counts)
        case "batch":
            divisors = [max(sum(counts), 1)] * len(counts)
    shares = [torch.full((n,), 1 / d, device=device) for n, d in zip(counts, divisors, strict=True)]
    return torch.cat(shares) if shares else torch.zeros(0, device=device)


def leading(values: Tensor, counts: Sequence[int], wanted: Sequence[int]) -> Tensor:
    """Return the first `wanted` of each of the parts that `counts` divides the values into.

    Example:
        >>> leading(torch.arange(5), [3, 2], [1, 2])
        tensor([0, 3, 4])
    """
    parts = torch.split(values, list(counts))
    return torch.cat([part[:num] for part, num in zip(parts, wanted, strict=True)])
