"""Fast R-CNN (Girshick, ICCV 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from detkit.capabilities import SamplesRegions
from detkit.detectors.shared_parts import MapDetector
from detkit.errors import UserError
from detkit.models.image_input import in_file_pixels, padded_in_file_pixels, resized
from detkit.models.roi.padded import detect_padded
from detkit.models.roi.roi_head import RoIHead
from detkit.models.roi.selection import Scored
from detkit.structures import (
    Detections,
    ImageBatch,
    PaddedBatch,
    PaddedDetections,
    RegionDecision,
    Target,
    TrainBatch,
)


class FastRCNN(MapDetector):
    """A backbone that reads the image once, and a head that classifies the proposals it is given.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps, finest first.
        neck: feature maps -> feature maps; a pyramid, or nothing.
        roi_head: what is there, what is it, and where exactly.
        copies: factors below 1, falling, of smaller copies of an image that are read, too, in test; the
            head's features choose among the copies' maps. Empty where there is one size.
    """

    finest_stride = 1

    def __init__(
        self, backbone: nn.Module, neck: nn.Module, roi_head: RoIHead, copies: Sequence[float] = ()
    ) -> None:
        super().__init__()
        self.copies = tuple(copies)
        self.backbone, self.neck, self.roi_head = backbone, neck, roi_head

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the two losses, weighted: head_class and head_box.

        Raises:
            UserError: the batch does not say where to look.
        """
        proposals = self._proposals(batch.images)
        maps = self.feature_maps(batch.images)
        edges = self._edges(batch.images)
        head_class, head_box = self.roi_head.losses(maps, proposals, batch.targets, batch.seed, **edges)
        return {"head_class": head_class, "head_box": head_box}

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file.

        Raises:
            UserError: the batch does not say where to look.
        """
        proposals, maps = self._proposals(images), self.test_maps(images)
        found = self.roi_head.detect(maps, proposals, images.sizes, **self._edges(images))
        return in_file_pixels(found, images)

    def detect_padded(self, images: PaddedBatch) -> PaddedDetections:
        """Return what `detect` does, filled up to one number; see `DetectsPadded`.

        Raises:
            UserError: images are read in several sizes.
        """
        if self.copies:
            raise UserError("detector.scales_px: an exported graph reads an image in one size; take []")
        maps = self.neck(self.backbone(self.prepare_padded(images)))
        pixel_px = images.sizes.amax(dim=1) / images.originals.amax(dim=1)
        found = detect_padded(self.roi_head, maps, *images.given, images.sizes, pixel_px)
        return padded_in_file_pixels(found, images)

    def traced_proposals(self, maps: Sequence[Tensor], images: ImageBatch) -> Sequence[Tensor]:
        """Return for each image the (P, 4) proposals that it is given."""
        return self._proposals(images)

    def score(self, maps: Sequence[Tensor], regions: Sequence[Tensor], images: ImageBatch) -> list[Scored]:
        """Return each image's regions with scores and deltas; see `MapDetector`."""
        return self.roi_head.scored(maps, regions, images.sizes, images.pixel_px)

    def test_maps(self, images: ImageBatch) -> list[Tensor]:
        """Return the maps of images as a test sees them, with those of their smaller copies."""
        pixels = self.prepare(images)
        maps: list[Tensor] = list(self.neck(self.backbone(pixels)))
        for factor in self.copies:
            maps += self.neck(self.backbone(resized(pixels, factor)))
        return maps

    def decide_on_maps(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        """Return what regions are; see `MapDetector`."""
        return self.roi_head.decide(self.test_maps(images), boxes, images.pixel_px)

    def embed_on_maps(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return the vectors that regions are decided on; see `MapDetector`."""
        return self.roi_head.vectors(self.test_maps(images), boxes, images.pixel_px)

    @torch.no_grad()
    def training_boxes(self, batch: TrainBatch) -> list[tuple[Tensor, Tensor]]:
        """Return for each image no anchors and the (R, 4) regions that would train for an object."""
        regions = self.positive_regions(self._proposals(batch.images), batch)
        return [(own.new_zeros((0, 4)), own) for own in regions]

    @property
    def candidates(self) -> Literal["proposals"] | None:
        """Proposals are matched to objects; None for a head of the user's own that does not sample them."""
        return "proposals" if isinstance(self.roi_head, SamplesRegions) else None

    @property
    def candidates_per_image(self) -> int:
        """How many regions are sampled of an image at most."""
        return self.roi_head.regions_per_image

    def candidate_boxes(
        self, target: Target, size: tuple[int, int], proposals: Tensor | None
    ) -> tuple[Tensor, int]:
        """Return the (P, 4) proposals of an image, and how many of those sampled hold an object."""
        assert proposals is not None
        return proposals, len(self.roi_head.positive_regions(proposals, target, seed=0))

    def _edges(self, images: ImageBatch) -> dict[str, Sequence[float]]:
        """Return what a head needs to know of proposals from files; one of the user's own is not asked."""
        return {"pixel_px": images.pixel_px} if isinstance(self.roi_head, RoIHead) else {}

    def _proposals(self, images: ImageBatch) -> Sequence[Tensor]:
        if images.proposals is None:
            raise UserError("fast_rcnn needs proposals: give ImageBatch.proposals, boxes for each image")
        return [boxes.to(self.mean.device) for boxes in images.proposals]
