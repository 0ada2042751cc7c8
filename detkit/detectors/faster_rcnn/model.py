"""Faster R-CNN (Ren et al., NIPS 2015), both stages trained together, and its proposal network alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from detkit.capabilities import ProposesRegions, SamplesAnchors
from detkit.detectors.shared_parts import MapDetector, MapNetwork
from detkit.errors import UserError
from detkit.models.image_input import in_file_pixels, padded_in_file_pixels
from detkit.models.roi.padded import detect_padded
from detkit.models.roi.roi_head import RoIHead
from detkit.models.rpn.padded import propose_padded
from detkit.models.rpn.rpn import RPN
from detkit.models.rpn.traced import TracedProposals, trace_proposals
from detkit.structures import Detections, ImageBatch, PaddedBatch, PaddedDetections, Target, TrainBatch


class ProposalNetwork(MapNetwork):
    """A backbone that reads the image, and the network that says where objects may be; the RPN alone.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps, finest first.
        neck: feature maps -> feature maps; a pyramid, or nothing.
        rpn: where to look.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module, rpn: ProposesRegions) -> None:
        super().__init__()
        self.backbone, self.neck, self.rpn = backbone, neck, rpn

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the two losses, weighted: rpn_objectness and rpn_box."""
        sizes = batch.images.sizes
        output = self.rpn(self.feature_maps(batch.images), sizes)
        objectness, rpn_box = self.rpn.losses(output, batch.targets, sizes, batch.seed)
        return {"rpn_objectness": objectness, "rpn_box": rpn_box}

    @torch.no_grad()
    def propose(
        self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], limits: Any = None
    ) -> list[Tensor]:
        """Return for each image the (P, 4) best boxes, best first; see `RPN.propose`."""
        return self.rpn.propose(self.rpn(maps, sizes), sizes, limits or self.rpn.test_limits)

    def objectness(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return for each image the logit of the anchor that overlaps its (1, 4) box most, with gradient.

        Raises:
            UserError: the proposal network is the user's own.
        """
        if not isinstance(self.rpn, RPN):
            raise UserError("proposals: a proposal network of your own does not say the objectness of a box")
        return self.rpn.objectness(self.feature_maps(images), images.sizes, boxes)


class FasterRCNN(ProposalNetwork, MapDetector):
    """A backbone whose maps serve the proposal network and the head that classifies its proposals.

    Proposals carry no gradient back: the paper's approximate joint training.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps, finest first.
        neck: feature maps -> feature maps; a pyramid, or nothing.
        rpn: where to look.
        roi_head: what is there, what is it, and where exactly.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module, rpn: ProposesRegions, roi_head: RoIHead) -> None:
        super().__init__(backbone, neck, rpn)
        self.roi_head = roi_head

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return rpn_objectness, rpn_box and the losses of regions, weighted."""
        sizes = batch.images.sizes
        maps = self.feature_maps(batch.images)
        anchors = self.rpn(maps, sizes)
        objectness, rpn_box = self.rpn.losses(anchors, batch.targets, sizes, batch.seed)
        proposals = self.rpn.propose(anchors, sizes, self.rpn.train_limits)
        regions = self.region_losses(maps, proposals, batch)
        return {"rpn_objectness": objectness, "rpn_box": rpn_box, **regions}

    def region_losses(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], batch: TrainBatch
    ) -> dict[str, Tensor]:
        """Return the two losses of regions, weighted: head_class and head_box."""
        head_class, head_box = self.roi_head.losses(maps, proposals, batch.targets, batch.seed)
        return {"head_class": head_class, "head_box": head_box}

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file."""
        maps = self.feature_maps(images)
        proposals = self.propose(maps, images.sizes)
        return in_file_pixels(self.detect_regions(maps, proposals, images.sizes), images)

    def detect_regions(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Return the detections of each image, best first, in the pixels of the proposals."""
        return self.roi_head.detect(maps, proposals, sizes)

    def traced_proposals(self, maps: Sequence[Tensor], images: ImageBatch) -> list[TracedProposals]:
        """Return for each image what became of all anchors.

        Raises:
            UserError: the proposal network is the user's own.
        """
        if not isinstance(self.rpn, RPN):
            raise UserError("proposals: a proposal network of your own does not say what it drops")
        return trace_proposals(self.rpn, self.rpn(maps, images.sizes), images.sizes)

    def detect_padded(self, images: PaddedBatch) -> PaddedDetections:
        """Return what `detect` does, filled up to one number; see `DetectsPadded`."""
        maps = self.neck(self.backbone(self.prepare_padded(images)))
        boxes, there = propose_padded(cast(RPN, self.rpn), maps, images.sizes)
        return padded_in_file_pixels(self.detect_regions_padded(maps, boxes, there, images.sizes), images)

    def detect_regions_padded(
        self, maps: Sequence[Tensor], boxes: Tensor, there: Tensor, sizes: Tensor
    ) -> PaddedDetections:
        """Return what `detect_regions` does of (B, P, 4) proposals, of which (B, P) are there."""
        return detect_padded(self.roi_head, maps, boxes, there, sizes)

    @torch.no_grad()
    def training_boxes(self, batch: TrainBatch) -> list[tuple[Tensor, Tensor]]:
        """Return for each image the (A, 4) anchors and (R, 4) regions that would train for an object.

        A proposal network of the user's own that does not sample anchors gives none.
        """
        sizes = batch.images.sizes
        maps = self.feature_maps(batch.images)
        output = self.rpn(maps, sizes)
        proposals = self.rpn.propose(output, sizes, self.rpn.train_limits)
        anchors = [own.new_zeros((0, 4)) for own in proposals]
        if isinstance(self.rpn, SamplesAnchors):
            anchors = self.rpn.positive_anchors(output, batch.targets, sizes, batch.seed)
        return list(zip(anchors, self.positive_regions(proposals, batch), strict=True))

    @property
    def candidates(self) -> Literal["anchors"] | None:
        """Anchors are matched to objects; None for a proposal network of the user's own without any."""
        return "anchors" if isinstance(self.rpn, SamplesAnchors) else None

    @property
    def candidates_per_image(self) -> int:
        """How many anchors are sampled of an image at most."""
        return cast(SamplesAnchors, self.rpn).anchors_per_image

    @property
    def finest_stride(self) -> int:
        """Pixels per cell of the finest feature map."""
        return min(cast(SamplesAnchors, self.rpn).strides)

    def candidate_boxes(
        self, target: Target, size: tuple[int, int], proposals: Tensor | None
    ) -> tuple[Tensor, int]:
        """Return the (A, 4) anchors that may train, and how many of those sampled are positive."""
        return cast(SamplesAnchors, self.rpn).candidate_anchors(target, size)

    def map_modules(self) -> list[nn.Module]:
        """Return the modules that compute maps of whole images."""
        return [*super().map_modules(), *([self.rpn.head] if isinstance(self.rpn, RPN) else [])]
