"""Faster R-CNN (Ren et al., NIPS 2015), both stages trained together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detkit.models.roi_head import RoIHead
from detkit.models.rpn import RPN
from detkit.models.weights import IMAGENET_MEAN, IMAGENET_STD
from detkit.ops.boxes import clip
from detkit.structures import Detections, ImageBatch, TrainBatch


class FasterRCNN(nn.Module):
    """A backbone whose maps serve the proposal network and the head that judges its proposals.

    Proposals carry no gradient back: the paper's approximate joint training.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps, finest first.
        neck: feature maps -> feature maps; a pyramid, or nothing.
        rpn: where to look.
        roi_head: what is there, what is it, and where exactly.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, neck: nn.Module, rpn: RPN, roi_head: RoIHead) -> None:
        super().__init__()
        self.backbone, self.neck, self.rpn, self.roi_head = backbone, neck, rpn, roi_head
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

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
        found = self.roi_head.detect(maps, proposals, images.sizes)
        return [
            _in_file_pixels(detections, size, original)
            for detections, size, original in zip(found, images.sizes, images.originals, strict=True)
        ]

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

    def prepare(self, images: ImageBatch) -> Tensor:
        """Return (B, 3, H, W) images on the model's device, ImageNet's mean 0 and deviation 1, padding 0.

        Pixels that are float already are taken as normalised.
        """
        pixels = images.pixels.to(self.mean.device, non_blocking=True)
        if not pixels.is_floating_point():
            pixels = (pixels - self.mean) / self.std
            for image, (height, width) in zip(pixels, images.sizes, strict=True):
                image[:, height:] = 0
                image[:, :, width:] = 0
        return pixels.contiguous(memory_format=torch.channels_last)


def _in_file_pixels(found: Detections, size: tuple[int, int], original: tuple[int, int]) -> Detections:
    """Return detections scaled from the size the network saw to the size of the file."""
    scale_y, scale_x = original[0] / size[0], original[1] / size[1]
    boxes = found.boxes * found.boxes.new_tensor((scale_x, scale_y, scale_x, scale_y))
    return Detections(clip(boxes, original), found.scores, found.labels)
