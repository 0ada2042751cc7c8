"""Cascade R-CNN (Cai and Vasconcelos, CVPR 2018): heads one behind the other, each for better boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detkit.capabilities import ProposesRegions
from detkit.detectors.cascade_rcnn.config import Scores
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.models.roi.padded import decided, features_padded, select_padded
from detkit.models.roi.roi_head import Regions, RoIHead
from detkit.models.roi.selection import Scored
from detkit.ops.boxes import clip, pairwise_iou
from detkit.ops.padded import clip_each
from detkit.ops.sampling import Sampler
from detkit.structures import Detections, ImageBatch, PaddedDetections, RegionDecision, Target, TrainBatch

# Regions that fit an object so well are labelled boxes that were added, or all but that: where the next stage
# adds them itself, they would count twice. The number is that of the authors' code.
ADDED_IOU = 0.95


@dataclass(frozen=True)
class Everything(Sampler):
    """Takes all regions that hold an object and all background; `num` only normalises losses."""

    def sample_all(self, matches: Sequence[Tensor], seeds: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return what is taken of each image; see `Sampler`."""
        return Sampler(max(map(len, matches), default=0), 1.0).sample_all(matches, seeds)


class CascadeRCNN(FasterRCNN):
    """A Faster R-CNN with several heads: each is trained on the boxes that the one before has moved.

    Boxes carry no gradient back to the stage that moved them.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps, finest first.
        neck: feature maps -> feature maps; a pyramid, or nothing.
        rpn: where to look.
        stages: the heads, at least one, whose box regression is the same for all classes. They take features
            from the maps alike.
        loss_weights: of each stage's two losses.
        feature_gradients: factors on the gradients that each stage sends into the maps.
        scores: what a test takes the mean of; see `CascadeRCNNConfig`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        rpn: ProposesRegions,
        stages: Sequence[RoIHead],
        *,
        loss_weights: Sequence[float],
        feature_gradients: Sequence[float],
        scores: Scores = "last",
    ) -> None:
        super().__init__(backbone, neck, rpn, stages[0])
        self.later_stages = nn.ModuleList(stages[1:])
        self.loss_weights, self.feature_gradients = tuple(loss_weights), tuple(feature_gradients)
        self.scores = scores

    @property
    def roi_heads(self) -> list[RoIHead]:
        """The stages, in their order."""
        return [self.roi_head, *self.later_stages]

    def region_losses(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], batch: TrainBatch
    ) -> dict[str, Tensor]:
        """Return two losses of each stage, weighted: head_class, head_box, head_class_2, head_box_2, ..."""
        losses: dict[str, Tensor] = {}
        boxes = proposals
        each = zip(self.roi_heads, self.loss_weights, self.feature_gradients, strict=True)
        for number, (stage, weight, factor) in enumerate(each):
            drawn = stage.sample_all(boxes, batch.targets, batch.seed)
            logits, deltas = stage(scaled_gradients(maps, factor), [regions.boxes for regions in drawn])
            head_class, head_box = stage.losses_of(drawn, logits, deltas)
            of = f"_{number + 1}" if number else ""
            losses |= {f"head_class{of}": weight * head_class, f"head_box{of}": weight * head_box}
            boxes = next_regions(stage, drawn, deltas, batch.targets, batch.images.sizes)
        return losses

    def detect_regions(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Return the detections of each image, best first, in the pixels of the proposals."""
        selection = self.roi_heads[-1].selection
        return [selection(*own) for own in self._scored(maps, proposals, sizes)]

    @torch.no_grad()
    def score(self, maps: Sequence[Tensor], regions: Sequence[Tensor], images: ImageBatch) -> list[Scored]:
        """Return each image's regions as the last stage sees them, with scores and deltas."""
        return self._scored(maps, regions, images.sizes)

    def _scored(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Scored]:
        """Return what the selection takes: the last stage moves the boxes, scores are a mean over all."""
        *before, last = self.roi_heads
        moved, vectors = self._through(before, maps, proposals, sizes)
        boxes, counts = moved[-1], [len(own) for own in proposals]
        regions = last.features(maps, boxes)
        if self.scores == "last":
            vectors = [stage.head(regions) for stage in before]
        vectors.append(last.head(regions))
        scores = torch.split(self._mean_scores(vectors), counts)
        deltas = torch.split(last.predictor.deltas(vectors[-1]), counts)
        return [Scored(*image) for image in zip(boxes, scores, deltas, sizes, strict=True)]

    @torch.no_grad()
    def boxes_of_stages(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Sequence[Tensor]]:
        """Return for each stage what it sees of each image: (P, 4) boxes, the proposals first."""
        return self._through(self.roi_heads[:-1], maps, proposals, sizes)[0]

    def _through(
        self,
        stages: Sequence[RoIHead],
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
    ) -> tuple[list[Sequence[Tensor]], list[Tensor]]:
        """Return each image's boxes before the first stage and behind each, and each stage's vectors."""
        boxes, vectors = [proposals], list[Tensor]()
        counts = [len(own) for own in proposals]
        for stage in stages:
            vectors.append(stage.vectors(maps, boxes[-1]))
            deltas = torch.split(stage.predictor.deltas(vectors[-1]), counts)
            each = zip(boxes[-1], deltas, sizes, strict=True)
            boxes.append([clip(stage.coder.decode(moves[:, 0], own), size) for own, moves, size in each])
        return boxes, vectors

    def _mean_scores(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return (R, K) scores from each stage's (R, D) vectors."""
        each = list(zip([stage.predictor for stage in self.roi_heads], vectors, strict=True))
        if self.scores == "own_logits":
            logits = torch.stack([predictor.cls_score(own).float() for predictor, own in each])
            return logits.mean(0).softmax(1)[:, :-1]
        return torch.stack([predictor.scores(own) for predictor, own in each]).mean(0)

    def decide_on_maps(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        """Return what regions are that the last stage sees: logits and scores are the means of all stages."""
        last = self.roi_heads[-1]
        regions = last.features(self.feature_maps(images), boxes)
        vectors = [stage.head(regions) for stage in self.roi_heads]
        each = [
            stage.predictor.decide(own, own, torch.cat(list(boxes)), stage.coder)
            for stage, own in zip(self.roi_heads, vectors, strict=True)
        ]
        logits = torch.stack([one.logits for one in each]).mean(0)
        return RegionDecision(logits, self._mean_scores(vectors), each[-1].boxes)

    def detect_regions_padded(
        self, maps: Sequence[Tensor], boxes: Tensor, there: Tensor, sizes: Tensor
    ) -> PaddedDetections:
        """Return what `detect_regions` does of (B, P, 4) proposals, of which (B, P) are there."""
        *before, last = self.roi_heads
        vectors: list[Tensor] = []
        for stage in before:
            vectors.append(stage.head(features_padded(stage.features, maps, boxes)))
            deltas = stage.predictor.deltas(vectors[-1])
            moved = stage.coder.decode(deltas[:, 0], boxes.flatten(0, 1))
            boxes = clip_each(moved.view_as(boxes), sizes)
        regions = features_padded(last.features, maps, boxes)
        if self.scores == "last":
            vectors = [stage.head(regions) for stage in before]
        vectors.append(last.head(regions))
        scores = self._mean_scores(vectors).view(*boxes.shape[:2], -1)
        _, deltas = decided(last.predictor, vectors[-1], vectors[-1], boxes)
        return select_padded(last.selection, boxes, there, scores, deltas, sizes)


def scaled_gradients(maps: Sequence[Tensor], factor: float) -> list[Tensor]:
    """Return the same maps, into which gradients go multiplied by a factor."""
    views = [one.view_as(one) for one in maps]
    for view in views:
        if view.requires_grad and factor != 1:
            view.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
    return views


@torch.no_grad()
def next_regions(
    stage: RoIHead,
    drawn: Sequence[Regions],
    deltas: Tensor,
    targets: Sequence[Target],
    sizes: Sequence[tuple[int, int]],
) -> list[Tensor]:
    """Return for each image the (R', 4) regions that a stage passes on to the next, moved and clipped.

    Left out are those of which nothing is left and, where labelled boxes are added, those that equal one.

    Args:
        stage: the head that moves them.
        drawn: the regions of each image that it was trained on.
        deltas: (R, 1, 4) of them, image by image.
        targets: the objects of each image.
        sizes: (height, width) in pixels of each image inside the padding.
    """
    passed = []
    of_images = torch.split(deltas[:, 0], [len(regions.labels) for regions in drawn])
    for regions, moves, target, size in zip(drawn, of_images, targets, sizes, strict=True):
        boxes = clip(stage.coder.decode(moves, regions.boxes), size)
        keeps = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        if stage.add_ground_truth:
            objects = target.boxes[~(target.difficult | target.crowd)]
            keeps &= (pairwise_iou(regions.boxes, objects) < ADDED_IOU).all(dim=1)
        passed.append(boxes[keeps])
    return passed
