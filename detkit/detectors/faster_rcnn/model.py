"""Faster R-CNN (Ren et al., NIPS 2015), both stages trained together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detkit.models.image_input import ImageInput, in_file_pixels
from detkit.models.roi.roi_head import RoIHead
from detkit.models.rpn.rpn import RPN
from detkit.structures import Detections, ImageBatch, TrainBatch


class FasterRCNN(ImageInput):
    """A backbone whose maps serve the proposal network and the head that judges its proposals.

    Proposals carry no gradient back: the paper's approximate joint training.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps, finest first.
        neck: feature maps -> feature maps; a pyramid, or nothing.
        rpn: where to look.
        roi_head: what is there, what is it, and where exactly.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module, rpn: RPN, roi_head: RoIHead) -> None:
        super().__init__()
        self.backbone, self.neck, self.rpn, self.roi_head = backbone, neck, rpn, roi_head

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the four losses, weighted: rpn_objectness, rpn_box, head_class and head_box."""
        sizes = batch.images.sizes
        maps = self.neck(self.backbone(self.prepare(batch.images)))
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
        maps = self.neck(self.backbone(self.prepare(images)))
        proposals = self.rpn.propose(self.rpn(maps, images.sizes), images.sizes, self.rpn.test_limits)
        return in_file_pixels(self.roi_head.detect(maps, proposals, images.sizes), images)

    @torch.no_grad()
    def training_boxes(self, batch: TrainBatch) -> list[tuple[Tensor, Tensor]]:
        """Return for each image the (A, 4) anchors and (R, 4) regions that would train for an object."""
        sizes = batch.images.sizes
        maps = self.neck(self.backbone(self.prepare(batch.images)))
        output = self.rpn(maps, sizes)
        anchors = torch.cat(output.anchors)
        drawn = self.rpn.draw(output, batch.targets, sizes, batch.seed)
        proposals = self.rpn.propose(output, sizes, self.rpn.train_limits)
        boxes = []
        for own, target, choice in zip(proposals, batch.targets, drawn, strict=True):
            regions = self.roi_head.draw(own, target, batch.seed)
            with_object = regions.labels < self.roi_head.num_classes
            boxes.append((anchors[choice.positives], regions.boxes[with_object]))
        return boxes
