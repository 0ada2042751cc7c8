"""Faster R-CNN's region proposal network alone (Ren et al., NIPS 2015)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from detkit.models.image_input import ImageInput
from detkit.models.rpn.rpn import RPN, Limits
from detkit.structures import ImageBatch, TrainBatch


class ProposalNetwork(ImageInput):
    """A backbone that reads the image, and the network that says where objects may be.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps, finest first.
        neck: feature maps -> feature maps; a pyramid, or nothing.
        rpn: where to look.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module, rpn: RPN) -> None:
        super().__init__()
        self.backbone, self.neck, self.rpn = backbone, neck, rpn

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the two losses, weighted: rpn_objectness and rpn_box."""
        sizes = batch.images.sizes
        output = self.rpn(self._maps(batch.images), sizes)
        objectness, rpn_box = self.rpn.losses(output, batch.targets, sizes, batch.seed)
        return {"rpn_objectness": objectness, "rpn_box": rpn_box}

    @torch.no_grad()
    def propose(self, images: ImageBatch, limits: Limits) -> list[Tensor]:
        """Return for each image the (P, 4) best boxes, best first, in pixels of the batch.

        Args:
            images: padded to one size.
            limits: how many boxes are kept before and after non-maximum suppression.
        """
        return self.rpn.propose(self.rpn(self._maps(images), images.sizes), images.sizes, limits)

    def _maps(self, images: ImageBatch) -> list[Tensor]:
        return cast(list[Tensor], self.neck(self.backbone(self.prepare(images))))
