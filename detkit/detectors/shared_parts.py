"""What Fast R-CNN and what came of it share: a network that reads the image once, and a head on its maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from detkit.capabilities import SamplesRegions
from detkit.detectors.config import CustomDetectorConfig, MapDetectorConfig
from detkit.errors import UserError
from detkit.models.backbones.builder import build_backbone, build_neck, load_pretrained
from detkit.models.custom_builder import custom_module
from detkit.models.image_input import ImageInput
from detkit.models.necks.fpn import Neck
from detkit.models.pretrained import LoadReport
from detkit.models.roi.box_heads import FcHead
from detkit.models.roi.builder import (
    build_box_head,
    build_features,
    build_roi_head,
    ranks_of,
    weight_parts,
)
from detkit.models.roi.config import OWN_HEADS, reads_pyramid
from detkit.models.roi.region_features import CustomRegionFeatures, RegionFeatures, nearest_copy
from detkit.models.roi.roi_head import RoIHead
from detkit.models.roi.selection import Scored
from detkit.models.roi.traced import Judged, trace_with_proposals
from detkit.models.rpn.traced import TracedProposals
from detkit.spec import CustomConfig
from detkit.structures import ImageBatch, RegionDecision, Target, Trace, TrainBatch

OnWeights = Callable[[LoadReport], None]


class MapNetwork(ImageInput):
    """A network that reads the whole image once.

    Attributes:
        backbone: (B, 3, H, W) normalised images -> feature maps, finest first.
        neck: feature maps -> feature maps; a pyramid, or nothing.
    """

    backbone: nn.Module
    neck: nn.Module

    def feature_maps(self, images: ImageBatch) -> list[Tensor]:
        """Return the (B, C, H, W) feature maps of images, finest first."""
        return cast(list[Tensor], self.neck(self.backbone(self.prepare(images))))


class MapDetector(MapNetwork):
    """A detector that classifies regions on maps of the whole image.

    Attributes:
        roi_head: what is there, what is it, and where exactly.
    """

    roi_head: RoIHead
    embeds_whole_images = False

    def positive_regions(self, proposals: Sequence[Tensor], batch: TrainBatch) -> list[Tensor]:
        """Return for each image the (R, 4) regions that would train for an object.

        A head of the user's own that does not sample regions gives none.
        """
        head = self.roi_head
        if not isinstance(head, SamplesRegions):
            return [own.new_zeros((0, 4)) for own in proposals]
        each = zip(proposals, batch.targets, strict=True)
        return [head.positive_regions(own, target, batch.seed) for own, target in each]

    def decide(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        """Return what regions are, with gradient; see `detkit.capabilities.DecidesOnRegions`."""
        self._require_own_heads()
        return self.decide_on_maps(images, boxes)

    @torch.no_grad()
    def trace(self, images: ImageBatch, objects: Sequence[Target]) -> list[Trace]:
        """Return what became of each image's candidates; see `detkit.capabilities.TracesCandidates`."""
        if not all(isinstance(head, RoIHead) for head in self.roi_heads):
            raise UserError("head: a head of your own does not say what becomes of its regions")
        maps, selection = self.test_maps(images), self.roi_heads[-1].selection
        found = []
        for number, proposed in enumerate(self.traced_proposals(maps, images)):
            judge = partial(self._judge, [level[number : number + 1] for level in maps], images, number)
            if isinstance(proposed, Tensor):
                found.append(judge(proposed).trace(selection))
            else:
                found.append(trace_with_proposals(selection, judge, proposed, objects[number].boxes))
        return found

    def _judge(self, maps: Sequence[Tensor], images: ImageBatch, number: int, regions: Tensor) -> Judged:
        image = images.part(number, number + 1)
        (scored,) = self.score(maps, [regions], image)
        _, *between = (own for (own,) in self.boxes_of_stages(maps, [regions], image.sizes))
        levels = self.roi_heads[-1].features.levels_of(scored.boxes)
        return Judged(scored, regions, levels, torch.stack(between) if between else None)

    def test_maps(self, images: ImageBatch) -> list[Tensor]:
        """Return the maps of images as a test sees them."""
        return self.feature_maps(images)

    @abstractmethod
    def traced_proposals(
        self, maps: Sequence[Tensor], images: ImageBatch
    ) -> Sequence[Tensor | TracedProposals]:
        """Return for each image the (P, 4) proposals that it is given, or what became of all anchors."""

    def score(self, maps: Sequence[Tensor], regions: Sequence[Tensor], images: ImageBatch) -> list[Scored]:
        """Return each image's regions with scores and deltas, as its selection takes them."""
        return self.roi_head.scored(maps, regions, images.sizes)

    def boxes_of_stages(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Sequence[Tensor]]:
        """Return for each head, one behind the other, what it sees of each image: (P, 4) boxes."""
        return [proposals]

    def decide_on_maps(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        """Return what `decide` does, by detkit's own heads."""
        return self.roi_head.decide(self.feature_maps(images), boxes)

    def embed(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return the vectors that the last head decides on; see `detkit.capabilities.EmbedsRegions`."""
        self._require_own_heads()
        return self.embed_on_maps(images, boxes)

    def embed_on_maps(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return what `embed` does, by detkit's own heads."""
        return self.roi_heads[-1].vectors(self.feature_maps(images), boxes)

    def _require_own_heads(self) -> None:
        if not all(isinstance(head, RoIHead) for head in self.roi_heads):
            raise UserError("head: a head of your own does not say what a given region is")

    def map_modules(self) -> list[nn.Module]:
        """Return the modules that compute maps of whole images."""
        return [self.backbone, self.neck]

    @property
    def roi_heads(self) -> list[RoIHead]:
        """All heads that classify regions, in the order they are used in."""
        return [self.roi_head]

    @property
    def fc_layers(self) -> list[nn.Module]:
        """The module with fc6 and fc7 of each head; empty where heads have other layers."""
        layers = (getattr(head, "fc_layers", None) for head in self.roi_heads)
        return [own for own in layers if own is not None]

    def replace_fc_layers(self, layers: Sequence[nn.Module]) -> None:
        """Put other modules with the same input and output in their place."""
        for head, own in zip(self.roi_heads, layers, strict=True):
            head.head = own


def build_shared_parts(
    spec: MapDetectorConfig, num_classes: int, on_weights: OnWeights | None
) -> tuple[nn.Module, Neck, RoIHead]:
    """Return the backbone, the neck and the head; see `DetectorFamily`."""
    backbone = build_backbone(spec.backbone, pyramid=reads_pyramid(spec.backbone, spec.neck))
    channels, strides = cast(Sequence[int], backbone.channels), cast(Sequence[int], backbone.strides)
    neck = build_neck(spec.neck, channels, strides)
    features, shape = _features(spec, neck)
    reads = on_weights is not None and getattr(spec.backbone, "weights", "none") != "none"
    parts: dict[str, nn.Module] = {"": backbone}
    if isinstance(spec.head, CustomConfig):
        own = custom_module(
            "head",
            spec.head,
            ("losses", "detect"),
            features=features,
            channels=shape[0],
            size=shape[1],
            num_classes=num_classes,
        )
        roi_head = cast(RoIHead, own)
    else:
        # Files hold whole layers, which are made thin once they are read.
        ranks = (None, None) if reads else ranks_of(spec.head)
        box_head = build_box_head(spec.head, spec.backbone, backbone, *shape, ranks)
        if isinstance(spec.head, OWN_HEADS):
            parts |= weight_parts(spec.backbone, box_head)
        roi_head = build_roi_head(spec.head, features, box_head, num_classes)
    if reads and on_weights is not None and not isinstance(spec.backbone, CustomConfig):
        on_weights(load_pretrained(spec.backbone, parts))
        if not isinstance(spec.head, CustomConfig) and isinstance(roi_head.head, FcHead):
            roi_head.head.compress(ranks_of(spec.head))
    return backbone, neck, roi_head


def _features(
    spec: MapDetectorConfig, neck: Neck
) -> tuple[RegionFeatures | CustomRegionFeatures, tuple[int, int]]:
    """Return what takes features from the maps of one image, or from those of several sizes of it.

    With it come the channels of a region's features and their cells along each side.
    """
    strides: Sequence[float] = neck.region_strides
    channels, level = neck.channels[: len(strides)], None
    if copies := spec.image_scales_px:
        strides, level = [strides[0] * copies[-1] / short for short in reversed(copies)], nearest_copy
    features = build_features(spec.regions, channels, strides, level)
    if isinstance(features, CustomRegionFeatures):
        return features, (features.channels, features.size)
    assert not isinstance(spec.regions, CustomConfig)
    return features, (channels[0], spec.regions.size)


def build_custom_detector(
    config: CustomDetectorConfig, num_classes: int, on_weights: OnWeights | None
) -> nn.Module:
    """Return a detector of the user's own."""
    return custom_module("detector", config, ("detect",), num_classes=num_classes)
