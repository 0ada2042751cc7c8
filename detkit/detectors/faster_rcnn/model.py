"""Faster R-CNN (Ren et al., NIPS 2015), both stages trained together, and its proposal network alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from detkit.capabilities import ProposesRegions, SamplesAnchors, SamplesRegions
from detkit.models.image_input import ImageInput, in_file_pixels
from detkit.models.roi.roi_head import RoIHead
from detkit.models.rpn.rpn import RPN
from detkit.structures import Detections, ImageBatch, Target, TrainBatch


class ProposalNetwork(ImageInput):
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

    def feature_maps(self, images: ImageBatch) -> list[Tensor]:
        """Return the (B, C, H, W) feature maps of images, finest first."""
        return cast(list[Tensor], self.neck(self.backbone(self.prepare(images))))


class FasterRCNN(ProposalNetwork):
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
        """Return the four losses, weighted: rpn_objectness, rpn_box, head_class and head_box."""
        sizes = batch.images.sizes
        maps = self.feature_maps(batch.images)
        anchors = self.rpn(maps, sizes)
        objectness, rpn_box = self.rpn.losses(anchors, batch.targets, sizes, batch.seed)
        proposals = self.rpn.propose(anchors, sizes, self.rpn.train_limits)
        head_class, head_box = self.roi_head.losses(maps, proposals, batch.targets, batch.seed)
        return {
            "rpn_objectness": objectness,
            "rpn_box": rpn_box,
            "head_class": head_class,
            "head_box": head_box,
        }

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file."""
        maps = self.feature_maps(images)
        proposals = self.propose(maps, images.sizes)
        return in_file_pixels(self.roi_head.detect(maps, proposals, images.sizes), images)

    @torch.no_grad()
    def training_boxes(self, batch: TrainBatch) -> list[tuple[Tensor, Tensor]]:
        """Return for each image the (A, 4) anchors and (R, 4) regions that would train for an object.

        A part of the user's own that samples neither gives none.
        """
        sizes = batch.images.sizes
        maps = self.feature_maps(batch.images)
        output = self.rpn(maps, sizes)
        proposals = self.rpn.propose(output, sizes, self.rpn.train_limits)
        nothing = [own.new_zeros((0, 4)) for own in proposals]
        anchors = regions = nothing
        if isinstance(self.rpn, SamplesAnchors):
            anchors = self.rpn.positive_anchors(output, batch.targets, sizes, batch.seed)
        if isinstance(self.roi_head, SamplesRegions):
            regions = [
                self.roi_head.positive_regions(own, target, batch.seed)
                for own, target in zip(proposals, batch.targets, strict=True)
            ]
        return list(zip(anchors, regions, strict=True))

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
        head = [self.rpn.head] if isinstance(self.rpn, RPN) else []
        return [self.backbone, self.neck, *head]

    @property
    def fc_layers(self) -> nn.Module | None:
        """The module with fc6 and fc7; None where the head has other layers."""
        return getattr(self.roi_head, "fc_layers", None)

    def replace_fc_layers(self, layers: nn.Module) -> None:
        """Put another module with the same input and output in their place."""
        self.roi_head.head = layers
