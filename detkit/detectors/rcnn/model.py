"""R-CNN (Girshick, Donahue, Darrell and Malik, CVPR 2014)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from detkit.data.regions.batch import RegionBatch
from detkit.models.image_input import padded_in_file_pixels
from detkit.models.roi.box_heads import BoxHead, FcHead
from detkit.models.roi.decision import StagedDecision
from detkit.models.roi.padded import decided, select_padded
from detkit.models.roi.region_detector import SELECTION, RegionDetector, RegionLayers
from detkit.models.roi.selection import Selection
from detkit.ops.ordered_pool import adaptive_max_pool
from detkit.ops.warp import Cuts, cuts_of_images, gathered, plan_warp, warp
from detkit.structures import ImageBatch, PaddedBatch, PaddedDetections


class CropNetwork(RegionLayers):
    """Convolutions, pool5, and fc6 and fc7 where the network has them.

    With fc6 and fc7 the last map is max-pooled to as many cells as fc6 wants, whatever the size of the crops;
    for a VGG and 224 pixels that is its own pool5. Without them pool5 is the mean of the last stage.

    Args:
        backbone: (R, 3, S, S) normalised crops -> maps, of which the last is taken.
        head: the layers behind it: fc6 and fc7, or the last stage.
        size: cells along each side that fc6 sees; without fc6 it has no meaning.
    """

    def __init__(self, backbone: nn.Module, head: BoxHead, size: int) -> None:
        fc = head if isinstance(head, FcHead) else None
        channels = cast(Sequence[int], backbone.channels)[-1]
        super().__init__(fc, channels * size * size if fc else head.channels)
        self.backbone, self.size = backbone, size
        self.stage = None if fc else head

    def pool5(self, crops: Tensor) -> Tensor:
        """Return (R, D) vectors of (R, 3, S, S) normalised crops."""
        features: Tensor = self.backbone(crops)[-1]
        if self.stage is None:
            return adaptive_max_pool(features, self.size).flatten(1)
        vectors: Tensor = self.stage(features)
        return vectors

    def forward(self, crops: Tensor) -> Tensor:
        """Return (R, D) vectors of the last layer, with dropout while training."""
        return self.last_vectors(self.pool5(crops))


@dataclass(frozen=True)
class Crops:
    """How regions are cut out.

    Attributes:
        size: side of a crop in pixels.
        context_px: pixels around the region, measured in the crop.
        square: cut out the square around the region instead of stretching it to one.
        at_once: crops that go through the network together.
    """

    size: int = 227
    context_px: int = 16
    square: bool = False
    at_once: int = 128


CROPS = Crops()


class RCNN(RegionDetector):
    """Every region is cut out, warped and read by a network; the decision sees its vectors.

    `forward` fine-tunes the network by a softmax over the classes and background.

    Args:
        network: reads the crops.
        decision: makes scores and deltas of their vectors.
        num_classes: K.
        crops: how they are cut.
        selection: chooses what is reported.
    """

    network: CropNetwork

    def __init__(
        self,
        network: CropNetwork,
        decision: StagedDecision,
        *,
        num_classes: int,
        crops: Crops = CROPS,
        selection: Selection = SELECTION,
    ) -> None:
        super().__init__("rcnn", network, decision, num_classes=num_classes, selection=selection)
        self.crops = crops

    def forward(self, batch: RegionBatch) -> dict[str, Tensor]:
        """Return the loss that fine-tunes the network: head_class."""
        vectors = self.network(self.crop(batch.table, batch.cuts))
        return {"head_class": self.decision.loss(vectors, batch.labels.to(vectors.device))}

    def read(self, image: ImageBatch, boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (r, D) pool5 and (r, D') vectors of the layer that decides, some regions at a time.

        Args:
            image: a batch of one.
            boxes: (R, 4) corner boxes in its pixels.
        """
        pixels = image.pixels.permute(0, 2, 3, 1)
        table, width = pixels.reshape(-1, 3).to(self.mean.device), pixels.shape[2]
        crops = self.crops
        places = boxes.cpu().numpy()
        plan = plan_warp(places, image.sizes[0], crops.size, crops.context_px, square=crops.square)
        cuts, memory = Cuts.in_image(plan, width).to(table.device), self._memory(len(boxes))
        for start in range(0, len(boxes), crops.at_once):
            pool5 = self.network.pool5(self.crop(table, cuts.part(start, start + crops.at_once), memory))
            yield pool5, self.network.beyond(pool5, self.layer)

    def detect_padded(self, images: PaddedBatch) -> PaddedDetections:
        """Return what `detect` does, filled up to one number; all crops are in memory at once."""
        boxes, there = images.given
        crops = self.crops
        pixels = images.pixels.permute(0, 2, 3, 1)
        cuts = cuts_of_images(
            boxes, images.sizes, pixels.shape[1:3], crops.size, crops.context_px, square=crops.square
        )
        mean, std = self._colours(pixels)
        cut = gathered(pixels.flatten(0, 2), cuts, crops.size, mean, std).to(self.mean.dtype)
        pool5 = self.network.pool5(cut)
        said = decided(self.decision, self.network.beyond(pool5, self.layer), pool5, boxes)
        found = select_padded(self.selection, boxes, there, *said, images.sizes)
        return padded_in_file_pixels(found, images)

    def crop(self, table: Tensor, cuts: Cuts, memory: Tensor | None = None) -> Tensor:
        """Return (R, 3, S, S) normalised crops; pixels that are float already are taken as normalised."""
        return warp(table, cuts, self.crops.size, *self._colours(table), memory)

    def _colours(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self.mean.flatten(), self.std.flatten()
        return (torch.zeros_like(mean), torch.ones_like(std)) if pixels.is_floating_point() else (mean, std)

    def _memory(self, num_regions: int) -> Tensor | None:
        """Return memory that all crops of an image are made in, one lot after the other."""
        if self.mean.device.type != "cpu":
            return None
        side = self.crops.size
        return torch.empty((min(num_regions, self.crops.at_once), side, side, 3))
