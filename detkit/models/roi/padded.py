"""The second stage of the R-CNN family in tensors of constant shape, for exported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from detkit.errors import UserError
from detkit.models.roi.decision import Decision, scores_and_margins
from detkit.models.roi.region_features import CustomRegionFeatures, RegionFeatures
from detkit.models.roi.roi_head import RoIHead
from detkit.models.roi.selection import Selection
from detkit.ops.padded import NOTHING, best_of, clip_each, rows_at, unsuppressed
from detkit.structures import PaddedDetections


def detect_padded(
    head: RoIHead,
    maps: Sequence[Tensor],
    boxes: Tensor,
    there: Tensor,
    sizes: Tensor,
    pixel_px: Tensor | None = None,
) -> PaddedDetections:
    """Return the detections of `RoIHead.detect`, filled up to their highest number.

    Args:
        head: the head.
        maps: (B, C, H, W) feature maps, finest first.
        boxes: (B, P, 4) proposals in pixels.
        there: (B, P) bool, which of them are there.
        sizes: (B, 2) height and width in pixels of each image inside the padding.
        pixel_px: (B,) the side of its file's pixels, where boxes come from there; None is one.
    """
    vectors = head.head(features_padded(head.features, maps, boxes, pixel_px))
    said = decided(head.predictor, vectors, vectors, boxes)
    return select_padded(head.selection, boxes, there, *said, sizes)


def features_padded(
    features: RegionFeatures | CustomRegionFeatures,
    maps: Sequence[Tensor],
    boxes: Tensor,
    pixel_px: Tensor | None = None,
) -> Tensor:
    """Return (B * P, C, size, size) features of (B, P, 4) regions; see `RegionFeatures.of_images`."""
    number, regions = boxes.shape[:2]
    image = torch.arange(number, device=boxes.device)[:, None].expand(-1, regions).flatten()
    side = 1.0 if pixel_px is None else pixel_px[image][:, None]
    return cast(RegionFeatures, features).of_images(maps, boxes.flatten(0, 1), image, side)


def decided(decision: Decision, vectors: Tensor, moved_by: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, P, K) scores and (B, P, K or 1, 4) deltas of regions.

    Args:
        decision: what scores and moves.
        vectors: (B * P, D) of the regions, which scores are made of.
        moved_by: (B * P, D') of them, which deltas are made of.
        boxes: (B, P, 4) of them.
    """
    scores, _ = scores_and_margins(decision, vectors)
    deltas = decision.deltas(moved_by)
    shape = boxes.shape[:2]
    return scores.view(*shape, -1), deltas.view(*shape, -1, 4)


def select_padded(
    selection: Selection, boxes: Tensor, there: Tensor, scores: Tensor, deltas: Tensor, sizes: Tensor
) -> PaddedDetections:
    """Return what a `Selection` reports of a batch, filled up to its highest number.

    Args:
        selection: the rule.
        boxes: (B, P, 4) regions in pixels.
        there: (B, P) bool, which of them are there.
        scores: (B, P, K) in [0, 1].
        deltas: (B, P, K, 4) for the coder, or (B, P, 1, 4) for all classes.
        sizes: (B, 2) height and width of each image in pixels.

    Raises:
        UserError: scores are lowered rather than boxes dropped.
    """
    if selection.soft_nms is not None:
        raise UserError("detector.head.soft_nms: an exported graph drops boxes that overlap; it must be null")
    batch, classes = scores.shape[0], scores.shape[2]
    looked_at = there[:, :, None] & (scores >= selection.score_threshold)
    score = scores.masked_fill(~looked_at, NOTHING).transpose(1, 2)
    by_class = deltas.expand(-1, -1, classes, -1).transpose(1, 2)
    regions = boxes[:, None].expand(-1, classes, -1, -1)
    if selection.per_class is not None:
        best, places = best_of(score.flatten(0, 1), selection.per_class)
        by_class = torch.unflatten(rows_at(by_class.flatten(0, 1), places), 0, (batch, classes))
        regions = torch.unflatten(rows_at(regions.flatten(0, 1), places), 0, (batch, classes))
        score = torch.unflatten(best, 0, (batch, classes))
    moved = selection.coder.decode(by_class.reshape(-1, 4), regions.reshape(-1, 4)).view(by_class.shape)
    decoded = clip_each(moved, sizes)
    score = score.masked_fill(~(decoded[..., 2:] > decoded[..., :2]).all(dim=-1), NOTHING)
    kept = unsuppressed(decoded.flatten(0, 1), score.flatten(0, 1), selection.nms_iou).view_as(score)
    # Region by region and class by class, as `Selection` has them: so equal scores keep their order.
    flat, corners = kept.transpose(1, 2).flatten(1), decoded.transpose(1, 2).flatten(1, 2)
    number = selection.per_image
    if number is None:
        number = classes * (selection.per_class or boxes.shape[1])
    best, places = best_of(flat, number)
    return PaddedDetections.of(rows_at(corners, places), best, places % classes)
