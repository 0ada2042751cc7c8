"""SPP-net (He, Zhang, Ren and Sun, ECCV 2014)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from detkit.models.assignment import CROWD_IOU, assign
from detkit.models.image_input import resized
from detkit.models.roi.box_heads import FcHead
from detkit.models.roi.decision import StagedDecision
from detkit.models.roi.region_detector import SELECTION, RegionDetector, RegionLayers
from detkit.models.roi.region_features import CustomRegionFeatures, RegionFeatures
from detkit.models.roi.selection import Selection
from detkit.ops.sampling import Sampler, mix_seed
from detkit.structures import ImageBatch, Target, TrainBatch

_SAMPLING_STAGE, _COPIES_STAGE = 4, 5  # tell these random choices from those of other parts
_AT_ONCE = 1024  # regions that go through fc6 and fc7 together; it changes no result


@dataclass(frozen=True)
class RegionSampling:
    """Which regions of an image fine-tune the network.

    Attributes:
        sampler: draws so many of them.
        fg_iou: a region holds the object it overlaps most from this IoU on.
        bg_iou: a region is background if its best IoU is in [low, high).
    """

    sampler: Sampler
    fg_iou: float
    bg_iou: tuple[float, float]

    def __call__(self, boxes: Tensor, target: Target, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return the boxes drawn of an image, those with an object first, and their classes.

        Args:
            boxes: (R, 4) regions in pixels, the objects among them.
            target: the image's objects.
            num_classes: K, which stands for background.
            seed: seeds the choice, with the target's image index.
        """
        matches = assign(
            boxes, target, fg_iou=self.fg_iou, bg_iou=self.bg_iou, force=False, crowd_iou=CROWD_IOU
        )
        fg, bg = self.sampler(matches, mix_seed(seed, target.image, _SAMPLING_STAGE))
        labels = torch.cat([target.labels[matches[fg]], torch.full_like(bg, num_classes)])
        return boxes[torch.cat([fg, bg])], labels


class PyramidNetwork(RegionLayers):
    """Reads an image once, or smaller copies of it too, whatever the number of regions.

    Args:
        backbone: (B, 3, H, W) normalised images -> maps, of which the last is taken.
        features: (maps, boxes) -> (R, ...), D values of each region, from the copy of the image where it fits
            best.
        fc: fc6 and fc7; None where pool5 is all there is.
        copies: factors below 1, falling, of smaller copies of an image that are read, too.
        pool5_width: D.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: RegionFeatures | CustomRegionFeatures,
        fc: FcHead | None,
        *,
        copies: Sequence[float],
        pool5_width: int,
    ) -> None:
        super().__init__(fc, pool5_width)
        self.backbone, self.features, self.copies = backbone, features, tuple(copies)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Return the map of (B, 3, H, W) normalised images alone, as training sees it."""
        maps: list[Tensor] = self.backbone(pixels)
        return maps[-1:]

    def all_maps(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of images and of their smaller copies, the largest first."""
        return [*self.maps(pixels), *(self.maps(resized(pixels, factor))[0] for factor in self.copies)]

    def pool5(
        self,
        maps: Sequence[Tensor],
        boxes: Sequence[Tensor],
        pixel_px: Sequence[float],
        copies: Tensor | None = None,
    ) -> Tensor:
        """Return (R, D) vectors of all images' regions, image by image.

        Args:
            maps: what `maps` or `all_maps` gave.
            boxes: for each image, (R_i, 4) boxes in pixels.
            pixel_px: for each image, the side of its file's pixels in these.
            copies: (R,) which of several copies; None lets each region's size choose.
        """
        return self.features(maps, boxes, pixel_px, copies).flatten(1)


class SPPNet(RegionDetector):
    """The image is read once, and each region is a pyramid of maxima on its map.

    Args:
        network: reads the image and its regions.
        decision: makes scores and deltas of their vectors.
        num_classes: K.
        selection: chooses what is reported.
        copy_for_each: whether fine-tuning draws the copy of the image `region` by `region`; `image` reads it
            as it comes.

    Attributes:
        sampling: which regions fine-tune; whoever trains sets it.
    """

    network: PyramidNetwork
    finest_stride = 1
    equal_features_count_once = True

    def __init__(
        self,
        network: PyramidNetwork,
        decision: StagedDecision,
        *,
        num_classes: int,
        selection: Selection = SELECTION,
        copy_for_each: Literal["region", "image"] = "region",
    ) -> None:
        super().__init__("sppnet", network, decision, num_classes=num_classes, selection=selection)
        self.draws_copies = copy_for_each == "region" and bool(network.copies)
        self.sampling = RegionSampling(Sampler(64, 0.25), 0.5, (0.1, 0.5))

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the loss of the classifier that fine-tunes the layers behind pool5: head_class.

        Raises:
            UserError: the batch does not say where to look.
        """
        drawn = [
            self.sampling(boxes, target, self.num_classes, batch.seed)
            for boxes, target in zip(self.proposals(batch.images), batch.targets, strict=True)
        ]
        regions, copies = [boxes for boxes, _ in drawn], None
        pixels = self.prepare(batch.images)
        maps = self.network.all_maps(pixels) if self.draws_copies else self.network.maps(pixels)
        if self.draws_copies:
            seeds = [mix_seed(batch.seed, target.image, _COPIES_STAGE) for target in batch.targets]
            chosen = [self._draw_copies(len(own), seed) for own, seed in zip(regions, seeds, strict=True)]
            copies = torch.cat(chosen).to(pixels.device)
        pool5 = self.network.pool5(maps, regions, batch.images.pixel_px, copies)
        labels = torch.cat([labels for _, labels in drawn])
        return {"head_class": self.decision.loss(self.network.last_vectors(pool5), labels)}

    def _draw_copies(self, num: int, seed: int) -> Tensor:
        chance = torch.Generator().manual_seed(seed)
        return torch.randint(1 + len(self.network.copies), (num,), generator=chance)

    @torch.no_grad()
    def training_boxes(self, batch: TrainBatch) -> list[tuple[Tensor, Tensor]]:
        """Return for each image no anchors and the (R, 4) regions that would train for an object."""
        boxes = []
        for own, target in zip(self.proposals(batch.images), batch.targets, strict=True):
            drawn, labels = self.sampling(own, target, self.num_classes, batch.seed)
            boxes.append((own.new_zeros((0, 4)), drawn[labels < self.num_classes]))
        return boxes

    @property
    def candidates(self) -> Literal["proposals"]:
        """Proposals are matched to objects."""
        return "proposals"

    @property
    def candidates_per_image(self) -> int:
        """How many regions are sampled of an image at most."""
        return self.sampling.sampler.num

    def candidate_boxes(
        self, target: Target, size: tuple[int, int], proposals: Tensor | None
    ) -> tuple[Tensor, int]:
        """Return the (P, 4) proposals of an image, and how many of those sampled hold an object."""
        assert proposals is not None
        objects = target.boxes[~(target.difficult | target.crowd)]
        regions = torch.cat([objects, proposals])  # as in training, where objects are regions as well
        _, labels = self.sampling(regions, target, self.num_classes, seed=0)
        return proposals, int((labels < self.num_classes).sum())

    def map_modules(self) -> list[nn.Module]:
        """Return the modules that compute maps of whole images."""
        return [self.network.backbone]

    def read(self, image: ImageBatch, boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (r, D) pool5 and (r, D') vectors of the layer that decides, some regions at a time.

        Args:
            image: a batch of one.
            boxes: (R, 4) corner boxes in its pixels.
        """
        maps = self.network.all_maps(self.prepare(image))
        for some in torch.split(boxes, _AT_ONCE):
            pool5 = self.network.pool5(maps, [some], image.pixel_px)
            yield pool5, self.network.beyond(pool5, self.layer)
