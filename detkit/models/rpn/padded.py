"""A region proposal network's proposals in tensors of constant shape, for exported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from detkit.models.rpn.rpn import CODER, RPN, RPNOutput
from detkit.ops.boxes import has_area, is_large
from detkit.ops.padded import NOTHING, best_of, clip_each, rows_at, unsuppressed


def propose_padded(rpn: RPN, maps: Sequence[Tensor], sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the proposals of `RPN.propose`, filled up to their highest number.

    Args:
        rpn: the network.
        maps: (B, C, H, W) feature maps, one for each stride.
        sizes: (B, 2) height and width in pixels of each image inside the padding.

    Returns:
        (B, P, 4) boxes in pixels, best first; and (B, P) bool, which of them are there.
    """
    output = cast(RPNOutput, rpn(maps, sizes))
    limits = rpn.test_limits
    boxes, scores = [], []
    for logits, deltas, anchors, inside in zip(
        output.logits, output.deltas, output.anchors, output.inside, strict=True
    ):
        allowed = inside
        if rpn.min_size_px > 0:
            every = CODER.decode(deltas.transpose(0, 1), anchors).transpose(0, 1)
            allowed = inside & is_large(clip_each(every, sizes), rpn.min_size_px)
        best, places = best_of(logits.masked_fill(~allowed, NOTHING), limits.pre_nms)
        chosen = rows_at(deltas, places)
        moved = CODER.decode(chosen.flatten(0, 1), anchors[places.flatten()])
        boxes.append(clip_each(moved.view_as(chosen), sizes))
        scores.append(best)
    found, score = torch.stack(boxes, 1), torch.stack(scores, 1)
    score = score.masked_fill(~has_area(found), NOTHING)
    if rpn.score_threshold > 0:
        score = score.masked_fill(~rpn.are_likely(score), NOTHING)
    kept = unsuppressed(found.flatten(0, 1), score.flatten(0, 1), rpn.nms_iou).view_as(score)
    best, places = best_of(kept.flatten(1), limits.post_nms)
    return rows_at(found.flatten(1, 2), places), best > NOTHING
