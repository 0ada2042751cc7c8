"""Selection: which of the scored regions of an image are reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.ops.boxes import clip, has_area
from detkit.ops.coding import BoxCoder
from detkit.ops.nms import Decay, grouped_nms, soft_nms, suppressors
from detkit.structures import Detections, Trace

SELECTION_STEPS = ("score", "per_class", "no_area", "nms", "per_image")
"""What drops a region's class: its score, the limit of a class, a box without area, a better box that it
overlaps, and the limit of an image."""

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
"""Shift in units of the region's sides, and the logarithm of the growth; sides are x2 - x1, never 0."""


class Scored(NamedTuple):
    """The R regions of an image as a selection takes them.

    Attributes:
        boxes: (R, 4) in pixels, as the last head sees them.
        scores: (R, K) in [0, 1].
        deltas: (R, K, 4) for the coder, or (R, 1, 4) for all classes.
        size: (height, width) of the image in pixels.
        margins: (R, K) what the scores are made of, where SVMs decide.
    """

    boxes: Tensor
    scores: Tensor
    deltas: Tensor
    size: tuple[int, int]
    margins: Tensor | None = None


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
        found, _, kept, lowered = self._selected(boxes, scores, deltas, size, margins)
        kept = kept[: self.per_image]
        return found.at(kept) if lowered is None else replace(found.at(kept), scores=lowered[: len(kept)])

    def _selected(
        self,
        boxes: Tensor,
        scores: Tensor,
        deltas: Tensor,
        size: tuple[int, int],
        margins: Tensor | None = None,
        *,
        every: bool = False,
    ) -> tuple[Detections, Tensor, Tensor, Tensor | None]:
        """Return what is compared, and what of it is reported; see `__call__`.

        Args:
            boxes: see `__call__`.
            scores: likewise.
            deltas: likewise.
            size: likewise.
            margins: likewise.
            every: whether to go on beyond the limit of an image.

        Returns:
            The moved boxes; their (n,) places among the R * K pairs of a region and a class; the places of
            those kept, best first; and their lowered scores, with soft-NMS.
        """
        rows, labels = self._chosen(scores)
        confidence = scores[rows, labels]
        decoded = self._moved(boxes[rows], deltas[rows, labels if deltas.shape[1] > 1 else 0], size)
        there = has_area(decoded)
        raw = None if margins is None else margins[rows, labels]
        found = Detections(decoded, confidence, labels, raw).at(there)
        pairs = (rows * scores.shape[1] + labels)[there]
        if self.soft_nms is None:
            limit = None if every else self.per_image
            kept = grouped_nms(found.boxes, found.scores, found.labels, self.nms_iou, limit)
            return found, pairs, kept, None
        kept, lowered = soft_nms(
            found.boxes,
            found.scores,
            found.labels,
            self.soft_nms,
            iou=self.nms_iou,
            sigma=self.soft_nms_sigma,
            min_score=self.score_threshold,
        )
        return found, pairs, kept, lowered

    def _moved(self, boxes: Tensor, deltas: Tensor, size: tuple[int, int]) -> Tensor:
        return clip(self.coder.decode(deltas, boxes), size)

    def trace(self, boxes: Tensor, scores: Tensor, deltas: Tensor, size: tuple[int, int]) -> Trace:
        """Return what becomes of all R * K pairs of a region and a class; see `__call__`.

        They come region by region.
        """
        num, classes = scores.shape
        found, pairs, kept, lowered = self._selected(boxes, scores, deltas, size, every=True)
        regions = boxes.repeat_interleave(classes, 0)
        moved = self._moved(regions, deltas.expand(num, classes, 4).flatten(0, 1), size)
        below, over_class_limit, no_area, suppressed, over_limit = range(len(SELECTION_STEPS))
        dropped = torch.full((num * classes,), below, device=boxes.device)
        dropped[(scores >= self.score_threshold).flatten()] = over_class_limit
        rows, labels = self._chosen(scores)
        dropped[rows * classes + labels] = no_area
        dropped[pairs] = suppressed
        dropped[pairs[kept]] = over_limit
        dropped[pairs[kept[: self.per_image]]] = len(SELECTION_STEPS)
        by = torch.full_like(dropped, -1)
        better = suppressors(found.boxes, found.scores, found.labels, kept, self.nms_iou)
        by[pairs] = torch.where(better >= 0, pairs[better], better)
        labels = torch.arange(classes, device=boxes.device).repeat(num)
        said = scores.flatten().clone()
        if lowered is not None:
            said[pairs[kept]] = lowered
        return Trace(SELECTION_STEPS, regions, moved, labels, said, dropped, by)

    def _chosen(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the regions and the classes that are looked at."""
        if self.per_class is None:
            rows, labels = torch.nonzero(scores >= self.score_threshold, as_tuple=True)
            return rows, labels
        best, ranked = scores.topk(min(self.per_class, len(scores)), dim=0)
        rank, labels = torch.nonzero(best >= self.score_threshold, as_tuple=True)
        return ranked[rank, labels], labels
