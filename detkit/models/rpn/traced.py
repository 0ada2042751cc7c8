"""What became of every anchor of an image, for `detkit trace`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.models.rpn.rpn import CODER, RPN, BestAnchors, RPNOutput
from detkit.ops.boxes import clip, has_area, is_large
from detkit.ops.nms import suppressors

PROPOSAL_STEPS = ("padding", "min_size", "pre_nms", "objectness", "proposal_nms", "post_nms")
"""What drops an anchor: its cell is padding, its box is small, it is not among the best of its map, its
objectness is low, a better box that it overlaps, and it is not among the best of the image."""

PADDING, MIN_SIZE, PRE_NMS, OBJECTNESS, PROPOSAL_NMS, POST_NMS = range(len(PROPOSAL_STEPS))


class TracedProposals(NamedTuple):
    """What became of all N anchors of an image, map by map.

    Attributes:
        boxes: (N, 4) moved and clipped, in pixels.
        objectness: (N,) in [0, 1].
        anchors: (N, 4) in pixels.
        levels: (N,) the map of each.
        ranks: (N,) place by objectness within its map, 0 for the best.
        dropped: (N,) place in `PROPOSAL_STEPS`; their number, where it is proposed.
        by: (N,) the better box that suppressed it; -1 where none did.
        proposals: (P,) those that are proposed, best first.
    """

    boxes: Tensor
    objectness: Tensor
    anchors: Tensor
    levels: Tensor
    ranks: Tensor
    dropped: Tensor
    by: Tensor
    proposals: Tensor


@torch.no_grad()
def trace_proposals(rpn: RPN, output: RPNOutput, sizes: Sequence[tuple[int, int]]) -> list[TracedProposals]:
    """Return for each image what becomes of its anchors in a test; see `RPN.propose`."""
    best = rpn.best_of_maps(output, sizes, rpn.test_limits.pre_nms)
    return [
        _of_image(rpn, output, number, own, size)
        for number, (own, size) in enumerate(zip(best, sizes, strict=True))
    ]


def _of_image(
    rpn: RPN, output: RPNOutput, image: int, best: BestAnchors, size: tuple[int, int]
) -> TracedProposals:
    logits, deltas, inside = (
        torch.cat([level[image] for level in each]) for each in (output.logits, output.deltas, output.inside)
    )
    anchors, counts = torch.cat(output.anchors), [len(own) for own in output.anchors]
    starts = torch.tensor([0, *counts[:-1]], device=anchors.device).cumsum(0)
    rows = best.anchors + starts[best.levels]
    boxes = CODER.decode(deltas, anchors)
    boxes[rows] = best.boxes  # the same but for rounding: these are what is proposed
    boxes = clip(boxes, size)
    large = is_large(boxes, rpn.min_size_px) & has_area(boxes)
    kept = rpn.kept(best, size, None)
    proposals = kept[: rpn.test_limits.post_nms]
    dropped = torch.where(inside, torch.where(large, PRE_NMS, MIN_SIZE), PADDING)
    likely = torch.where(rpn.are_likely(best.logits), PROPOSAL_NMS, OBJECTNESS)
    dropped[rows] = torch.where(dropped[rows] == PRE_NMS, likely, dropped[rows])
    dropped[rows[kept]] = POST_NMS
    dropped[rows[proposals]] = len(PROPOSAL_STEPS)
    there = dropped[rows] >= PROPOSAL_NMS
    better = suppressors(boxes[rows], best.logits, best.levels, kept, rpn.nms_iou)
    by = torch.full_like(dropped, -1)
    by[rows] = torch.where(there & (better >= 0), rows[better], -1)
    ranks = [own.argsort(descending=True, stable=True).argsort() for own in torch.split(logits, counts)]
    return TracedProposals(
        boxes,
        logits.sigmoid(),
        anchors,
        torch.arange(len(counts), device=anchors.device).repeat_interleave(starts.new_tensor(counts)),
        torch.cat(ranks),
        dropped,
        by,
        rows[proposals],
    )
