"""What became of the windows of a detector that looks everywhere, for `detkit trace`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detkit.ops.boxes import pairwise_iou
from detkit.ops.nms import suppressors
from detkit.structures import Detections, Trace

NEAREST = 20
LEAST_IOU = 0.1  # below, a box has nothing to do with an object
SUPPRESSED, MERGED = ("score", "nms", "per_image"), ("score", "merging", "per_image")


def nearest_rows(boxes: Tensor, around: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return the rows of the boxes that are allowed and overlap any of some others most, `NEAREST` of each.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        around: (M, 4) likewise.
        allowed: (N,) bool; None allows all.
    """
    rows = torch.arange(len(boxes), device=boxes.device) if allowed is None else torch.nonzero(allowed)[:, 0]
    if not len(rows) or not len(around):
        return rows[:0]
    iou, best = pairwise_iou(around.to(boxes), boxes[rows]).topk(min(NEAREST, len(rows)), dim=1)
    nearest: Tensor = torch.unique(rows[best[iou >= LEAST_IOU]])
    return nearest


def trace_suppressed(
    found: Detections,
    regions: Tensor,
    compared: Tensor,
    kept: Tensor,
    *,
    nms_iou: float,
    per_image: int | None = None,
    overlap: Callable[[Tensor, Tensor], Tensor] = pairwise_iou,
) -> Trace:
    """Return what became of windows of which those that a better one overlaps are dropped.

    Args:
        found: N windows with the boxes and scores that they would be reported with.
        regions: (N, 4) the windows.
        compared: (N,) bool, whether a score is high enough.
        kept: (n,) those that are not suppressed, best first.
        nms_iou: a window is suppressed by a better one of its class that overlaps it by more.
        per_image: most that are reported.
        overlap: what the suppression compares.
    """
    dropped = compared.long()
    dropped[kept] = 2
    dropped[kept[:per_image]] = 3
    by = suppressors(found.boxes, found.scores, found.labels, kept, nms_iou, overlap)
    by = torch.where(dropped == 1, by, -1)
    return Trace(SUPPRESSED, regions, found.boxes, found.labels, found.scores, dropped, by, parts=found.parts)


def trace_merged(
    found: Detections, regions: Tensor, compared: Tensor, merged: Detections, per_image: int
) -> Trace:
    """Return what became of windows that were merged with those near them, and of the merged boxes.

    Args:
        found: N windows with the boxes and scores that they would have alone.
        regions: (N, 4) the windows.
        compared: (N,) bool, whether a window was merged with others.
        merged: the boxes that were made of them, best first.
        per_image: most that are reported.
    """
    places = torch.arange(len(merged), device=compared.device)
    dropped = torch.cat([compared.long(), torch.where(places < per_image, 3, 2)])
    whole = Detections.joined([Detections(found.boxes, found.scores, found.labels), merged])
    none = torch.full_like(dropped, -1)
    all_regions = torch.cat([regions, merged.boxes])
    return Trace(MERGED, all_regions, whole.boxes, whole.labels, whole.scores, dropped, none)
