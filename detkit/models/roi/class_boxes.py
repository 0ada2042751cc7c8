"""Which of the scored regions of an image are reported, as R-CNN and SPP-net choose them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.ops.boxes import clip
from detkit.ops.coding import BoxCoder
from detkit.ops.nms import grouped_nms
from detkit.structures import Detections

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
"""Shift in units of the region's sides, and the logarithm of the growth; sides are x2 - x1, never 0."""


@dataclass(frozen=True)
class ClassBoxes:
    """For each class the best regions, each moved by its own regression, less those a better one overlaps.

    Attributes:
        score_threshold: lower scores are not reported.
        nms_iou: boxes of a class that overlap a better one by more are dropped.
        detections_per_class: at most so many regions of a class are moved and compared.
    """

    score_threshold: float
    nms_iou: float
    detections_per_class: int

    def __call__(self, boxes: Tensor, scores: Tensor, deltas: Tensor, size: tuple[int, int]) -> Detections:
        """Return the detections of an image, best first.

        A score is that of the region before it is moved.

        Args:
            boxes: (R, 4) regions in pixels.
            scores: (R, K) in [0, 1].
            deltas: (R, K, 4) for `CODER`, or (R, 1, 4) for all classes.
            size: (height, width) of the image in pixels.
        """
        best, rows = scores.topk(min(self.detections_per_class, len(scores)), dim=0)
        chosen, labels = torch.nonzero(best >= self.score_threshold, as_tuple=True)
        confidence, rows = best[chosen, labels], rows[chosen, labels]
        moved = CODER.decode(deltas[rows, labels if deltas.shape[1] > 1 else 0], boxes[rows])
        found = clip(moved, size)
        has_area = (found[:, 2:] > found[:, :2]).all(dim=1)
        found, confidence, labels = found[has_area], confidence[has_area], labels[has_area]
        kept = grouped_nms(found, confidence, labels, self.nms_iou)
        return Detections(found[kept], confidence[kept], labels[kept])
