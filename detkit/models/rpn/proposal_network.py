"""Faster R-CNN's region proposal network alone (Ren et al., NIPS 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from detkit.capabilities import ProposesRegions
from detkit.models.image_input import ImageInput
from detkit.structures import ImageBatch, TrainBatch


class ProposalNetwork(ImageInput):
    """A backbone that reads the image, and the network that says where objects may be.

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
