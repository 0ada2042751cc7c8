"""The second stage of the R-CNN family: what each region is, and where exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.assignment import NormalizeBy, assign, leading, loss_weights
from detkit.models.roi.box_heads import BoxPredictor, FcHead
from detkit.models.roi.decision import scores_and_margins
from detkit.models.roi.region_features import CustomRegionFeatures, PixelSizes, RegionFeatures
from detkit.models.roi.selection import Scored, Selection
from detkit.ops.coding import BoxCoder
from detkit.ops.losses import smooth_l1
from detkit.ops.sampling import Sampler, mix_seed
from detkit.structures import Detections, RegionDecision, Target

CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))
SAMPLER = Sampler(128, 0.25)
ROWS = 64  # regions that a head trains on in bfloat16 on a CPU: a multiple of so many
SAMPLING_STAGE = 2  # tells this head's random choices from the proposal network's


@dataclass(frozen=True)
class Regions:
    """The regions drawn from one image for training.

    Attributes:
        boxes: (R, 4) boxes in pixels, those with an object first.
        labels: (R,) classes, K for background.
        encoded: (F, 4) regression targets of the first F, those with an object.
    """

    boxes: Tensor
    labels: Tensor
    encoded: Tensor


def in_few_sizes(regions: Tensor) -> Tensor:
    """Return regions with further ones of zeros, up to a multiple of `ROWS`, where a CPU is to use bfloat16.

    oneDNN compiles its operations for each number of rows and keeps them: of small images, in which another
    number of regions is found each time, a gigabyte and more. What the regions given yield stays the same.

    Args:
        regions: (R, ...) features of the regions of a batch.
    """
    more = -len(regions) % ROWS
    if not more or regions.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return regions
    return F.pad(regions, [0, 0] * (regions.dim() - 1) + [0, more])


class RoIHead(nn.Module):
    """Classifies regions and refines their boxes (Girshick, Fast R-CNN, ICCV 2015).

    Args:
        features: takes a region's features from the maps.
        head: makes a vector of them.
        predictor: decides on the vector.
        num_classes: K.
        sampler: draws the regions that train.
        fg_iou: a region holds an object from this IoU on.
        bg_iou: a region is background if its best IoU is in [low, high).
        crowd_iou: regions that lie in a crowd by more than this share are not background.
        add_ground_truth: adds the labelled boxes to the regions in training.
        coder: encodes boxes relative to regions.
        beta: where smooth L1 becomes a line.
        box_loss_weight: weight of the box loss.
        normalize_by: see `loss_weights`.
        selection: chooses what is reported.
    """

    def __init__(
        self,
        features: RegionFeatures | CustomRegionFeatures,
        head: nn.Module,
        predictor: BoxPredictor,
        *,
        num_classes: int,
        sampler: Sampler = SAMPLER,
        fg_iou: float = 0.5,
        bg_iou: tuple[float, float] = (0.0, 0.5),
        crowd_iou: float = 0.7,
        add_ground_truth: bool = True,
        coder: BoxCoder = CODER,
        beta: float = 1.0,
        box_loss_weight: float = 1.0,
        normalize_by: NormalizeBy = "sampled",
        selection: Selection | None = None,
    ) -> None:
        super().__init__()
        self.features, self.head, self.predictor = features, head, predictor
        self.num_classes, self.sampler = num_classes, sampler
        self.fg_iou, self.bg_iou, self.crowd_iou = fg_iou, bg_iou, crowd_iou
        self.add_ground_truth, self.coder = add_ground_truth, coder
        self.beta, self.box_loss_weight, self.normalize_by = beta, box_loss_weight, normalize_by
        self.selection = selection or Selection(coder=coder)

    @property
    def fc_layers(self) -> nn.Module | None:
        """The module with fc6 and fc7; None where the head has other layers."""
        return self.head if isinstance(self.head, FcHead) else None

    def forward(
        self, maps: Sequence[Tensor], boxes: Sequence[Tensor], pixel_px: PixelSizes = None
    ) -> tuple[Tensor, Tensor]:
        """Return (R, K + 1) logits and (R, K or 1, 4) deltas of all images' regions; see `vectors`."""
        regions: Tensor = self.features(maps, boxes, pixel_px)
        logits, deltas = self.predictor(self.head(in_few_sizes(regions)))
        return logits[: len(regions)], deltas[: len(regions)]

    def vectors(self, maps: Sequence[Tensor], boxes: Sequence[Tensor], pixel_px: PixelSizes = None) -> Tensor:
        """Return the (R, D) vectors of all images' regions that the class and the box are read from.

        Args:
            maps: (B, C, H, W) feature maps, finest first.
            boxes: for each image, (R_i, 4) boxes in pixels.
            pixel_px: for each image, the side of its file's pixels, where boxes come from there; None is one.
        """
        vectors: Tensor = self.head(self.features(maps, boxes, pixel_px))
        return vectors

    def decide(
        self, maps: Sequence[Tensor], boxes: Sequence[Tensor], pixel_px: PixelSizes = None
    ) -> RegionDecision:
        """Return what all images' regions are, with gradient to the maps; see `vectors`."""
        vectors = self.vectors(maps, boxes, pixel_px)
        return self.predictor.decide(vectors, vectors, torch.cat(list(boxes)), self.coder)

    def losses(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Target],
        seed: int,
        pixel_px: PixelSizes = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the classification loss and the weighted box loss.

        Args:
            maps: (B, C, H, W) feature maps, finest first.
            proposals: for each image, (P, 4) boxes in pixels.
            targets: the objects of each image.
            seed: seeds the choice of regions, with each target's image index.
            pixel_px: see `vectors`.
        """
        drawn = self.sample_all(proposals, targets, seed)
        logits, deltas = self(maps, [regions.boxes for regions in drawn], pixel_px)
        return self.losses_of(drawn, logits, deltas)

    def losses_of(self, drawn: Sequence[Regions], logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses of classes and of boxes of sampled regions.

        Args:
            drawn: of each image, as `sample_all` gives them.
            logits: (R, K + 1) of their boxes, image by image.
            deltas: (R, K or 1, 4).
        """
        labels = torch.cat([regions.labels for regions in drawn])
        counts = [len(regions.labels) for regions in drawn]
        weights = loss_weights(counts, self.normalize_by, self.sampler.num, labels.device)
        classification = (F.cross_entropy(logits, labels, reduction="none") * weights).sum()
        # Those with an object come first in each image, so that nothing must be searched.
        rows = leading(
            torch.arange(len(labels), device=labels.device), counts, [len(own.encoded) for own in drawn]
        )
        encoded, classes = torch.cat([regions.encoded for regions in drawn]), labels[rows]
        unit = self.predictor.delta_std
        unit = unit[classes] if len(unit) > 1 else unit
        found = deltas[rows, classes if deltas.shape[1] > 1 else 0]
        wrong_by = smooth_l1(found / unit, encoded / unit, self.beta).sum(1)
        return classification, self.box_loss_weight * (wrong_by * weights[rows]).sum()

    @torch.no_grad()
    def detect(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        pixel_px: PixelSizes = None,
    ) -> list[Detections]:
        """Return the detections of each image, best first, in the pixels of the proposals; see `scored`."""
        return [self.selection(*own) for own in self.scored(maps, proposals, sizes, pixel_px)]

    @torch.no_grad()
    def scored(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        pixel_px: PixelSizes = None,
    ) -> list[Scored]:
        """Return each image's proposals with scores and deltas.

        Args:
            maps: (B, C, H, W) feature maps, finest first.
            proposals: for each image, (P, 4) boxes in pixels.
            sizes: (height, width) in pixels of each image inside the padding.
            pixel_px: see `vectors`.
        """
        chosen, rows = self.features.distinct(proposals, pixel_px)
        vectors = self.vectors(maps, chosen, pixel_px)
        scores, margins = scores_and_margins(self.predictor, vectors)
        deltas: Tensor = self.predictor.deltas(vectors)
        if rows is not None:
            scores, deltas = scores[rows], deltas[rows]
            margins = None if margins is None else margins[rows]
        counts = [len(own) for own in proposals]
        none = [None] * len(counts)
        each = (
            proposals,
            torch.split(scores, counts),
            torch.split(deltas, counts),
            sizes,
            none if margins is None else torch.split(margins, counts),
        )
        return [Scored(*of_image) for of_image in zip(*each, strict=True)]

    @torch.no_grad()
    def labelled(self, proposals: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Return all regions that may train, and what each stands for.

        Args:
            proposals: (P, 4) boxes in pixels.
            target: the image's objects.

        Returns:
            (R, 4) the proposals, and the labelled boxes if they are added; and (R,) the index of its object,
            BACKGROUND or IGNORED.
        """
        boxes = proposals
        if self.add_ground_truth:
            boxes = torch.cat([proposals, target.boxes[~(target.difficult | target.crowd)]])
        matches = assign(
            boxes, target, fg_iou=self.fg_iou, bg_iou=self.bg_iou, force=False, crowd_iou=self.crowd_iou
        )
        return boxes, matches

    @torch.no_grad()
    def sample(self, proposals: Tensor, target: Target, seed: int) -> Regions:
        """Return the regions of one image that train, those with an object first.

        Args:
            proposals: (P, 4) boxes in pixels.
            target: the image's objects.
            seed: seeds the choice, with the target's image index.
        """
        return self.sample_all([proposals], [target], seed)[0]

    @property
    def regions_per_image(self) -> int:
        """How many regions are sampled of an image at most."""
        return self.sampler.num

    def positive_regions(self, proposals: Tensor, target: Target, seed: int) -> Tensor:
        """Return the (R, 4) sampled regions of an image that train for an object; see `sample_all`."""
        regions = self.sample(proposals, target, seed)
        return regions.boxes[regions.labels < self.num_classes]

    @torch.no_grad()
    def sample_all(self, proposals: Sequence[Tensor], targets: Sequence[Target], seed: int) -> list[Regions]:
        """Return the regions of each image that train; see `sample`."""
        labelled = [self.labelled(own, target) for own, target in zip(proposals, targets, strict=True)]
        seeds = [mix_seed(seed, target.image, SAMPLING_STAGE) for target in targets]
        drawn = self.sampler.sample_all([matches for _, matches in labelled], seeds)
        return [
            self._regions(boxes, matches, target, *choice)
            for (boxes, matches), target, choice in zip(labelled, targets, drawn, strict=True)
        ]

    def _regions(self, boxes: Tensor, matches: Tensor, target: Target, fg: Tensor, bg: Tensor) -> Regions:
        objects = matches[fg]
        labels = torch.cat([target.labels[objects], torch.full_like(bg, self.num_classes)])
        encoded = self.coder.encode(target.boxes[objects], boxes[fg])
        return Regions(boxes[torch.cat([fg, bg])], labels, encoded)
