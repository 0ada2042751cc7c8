"""Parts that Fast R-CNN and Faster R-CNN share: config -> modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from torch import nn

from detkit.detectors.config import CustomDetectorConfig
from detkit.models.backbones.builder import build_backbone, build_neck, load_pretrained
from detkit.models.backbones.families import AnyBackboneConfig
from detkit.models.custom_builder import custom_module
from detkit.models.necks.config import AnyNeckConfig
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
from detkit.models.roi.config import OWN_HEADS, AnyHeadConfig, AnyRegionsConfig, reads_pyramid
from detkit.models.roi.region_features import CustomRegionFeatures, RegionFeatures, nearest_copy
from detkit.models.roi.roi_head import RoIHead
from detkit.spec import CustomConfig

OnWeights = Callable[[LoadReport], None]


class MapDetectorConfig(Protocol):
    """What is asked of the config of a detector that takes regions from maps of the whole image."""

    @property
    def backbone(self) -> AnyBackboneConfig:
        """The network that reads the image."""
        ...

    @property
    def neck(self) -> AnyNeckConfig:
        """What stands between it and the rest."""
        ...

    @property
    def regions(self) -> AnyRegionsConfig:
        """How features of a region are taken."""
        ...

    @property
    def head(self) -> AnyHeadConfig:
        """How a region is classified and refined."""
        ...

    @property
    def image_scales_px(self) -> tuple[int, ...]:
        """Short sides of the copies of an image that are read in a test; empty reads one."""
        ...


@dataclass(frozen=True)
class SharedParts:
    """What a detector with one map of the image has beside its proposals.

    Attributes:
        backbone: reads the image.
        neck: stands between it and the rest.
        roi_head: classifies regions.
    """

    backbone: nn.Module
    neck: Neck
    roi_head: RoIHead


def build_shared_parts(
    spec: MapDetectorConfig, num_classes: int, on_weights: OnWeights | None
) -> SharedParts:
    """Return the backbone, the neck and the head.

    Args:
        spec: the config's `detector`.
        num_classes: K, without background.
        on_weights: called with what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or a part does not fit.
    """
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
    return SharedParts(backbone, neck, roi_head)


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
