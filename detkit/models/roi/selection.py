"""Selection: which of the scored regions of an image are reported."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detkit.ops.boxes import clip
from detkit.ops.coding import BoxCoder
from detkit.ops.nms import Decay, grouped_nms, soft_nms
from detkit.structures import Detections

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
"""Shift in units of the region's sides, and the logarithm of the growth; sides are x2 - x1, never 0."""


@dataclass(frozen=True)
class Selection:
    """Thresholds, moves and suppresses scored regions, class by class, as all of the R-CNN family do.

    Attributes:
        score_threshold: lower scores are not reported.
        nms_iou: boxes of a class that overlap a better one by more are dropped.
        per_class: at most so many regions of a class are moved and compared, the best (R-CNN, SPP-net); None
            takes all.
        per_image: at most so many boxes are reported, best first (Fast and Faster R-CNN); None reports all.
        coder: decodes the deltas.
        soft_nms: lower the scores of overlapping boxes so, instead of dropping these; None drops them.
        soft_nms_sigma: of the Gaussian.
    """

    score_threshold: float = 0.05
    nms_iou: float = 0.3
    per_class: int | None = None
    per_image: int | None = 100
    coder: BoxCoder = CODER
    soft_nms: Decay | None = None
    soft_nms_sigma: float = 0.5

    def __call__(
        self,
        boxes: Tensor,
        scores: Tensor,
        deltas: Tensor,
        size: tuple[int, int],
        margins: Tensor | None = None,
    ) -> Detections:
        """Return the detections of an image, best first.

        A score is that of the region before it is moved, lowered where soft-NMS does so.

        Args:
            boxes: (R, 4) regions in pixels.
            scores: (R, K) in [0, 1].
            deltas: (R, K, 4) for the coder, or (R, 1, 4) for all classes.
            size: (height, width) of the image in pixels.
            margins: (R, K) what the scores are made of, where SVMs decide.
        """
        rows, labels = self._chosen(scores)
        confidence = scores[rows, labels]
        moved = self.coder.decode(deltas[rows, labels if deltas.shape[1] > 1 else 0], boxes[rows])
        decoded = clip(moved, size)
        has_area = (decoded[:, 2] > decoded[:, 0]) & (decoded[:, 3] > decoded[:, 1])
        raw = None if margins is None else margins[rows, labels]
        found = Detections(decoded, confidence, labels, raw).at(has_area)
        if self.soft_nms is None:
            kept = grouped_nms(found.boxes, found.scores, found.labels, self.nms_iou, self.per_image)
            return found.at(kept)
        kept, lowered = soft_nms(
            found.boxes,
            found.scores,
            found.labels,
            self.soft_nms,
            iou=self.nms_iou,
            sigma=self.soft_nms_sigma,
            min_score=self.score_threshold,
        )
        return replace(found.at(kept[: self.per_image]), scores=lowered[: self.per_image])

    def _chosen(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the regions and the classes that are looked at."""
        if self.per_class is None:
            rows, labels = torch.nonzero(scores >= self.score_threshold, as_tuple=True)
            return rows, labels
        best, ranked = scores.topk(min(self.per_class, len(scores)), dim=0)
        rank, labels = torch.nonzero(best >= self.score_threshold, as_tuple=True)
        return ranked[rank, labels], labels
