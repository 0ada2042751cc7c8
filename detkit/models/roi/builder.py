"""The `regions` and `head` of a config -> modules."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, assert_never

from torch import nn

from detkit.errors import UserError
from detkit.models.backbones.builder import is_frozen
from detkit.models.backbones.config import AnyBackboneConfig, GoogLeNetConfig, ResNetConfig
from detkit.models.backbones.googlenet.network import Inception5
from detkit.models.backbones.resnet.network import LAST, make_stage
from detkit.models.backbones.sequential import SequentialBackbone
from detkit.models.roi.box_heads import BoxHead, ConvFcHead, FcHead, Inception5Head, Layer4Head, Predictor
from detkit.models.roi.config import (
    AnyRegionsConfig,
    ConvFcHeadConfig,
    Fc6Fc7HeadConfig,
    Inception5HeadConfig,
    Layer4HeadConfig,
    RoIAlignConfig,
    RoIPoolConfig,
    TwoFcHeadConfig,
)
from detkit.models.roi.region_features import Level, RegionFeatures
from detkit.models.roi.roi_head import RoIHead
from detkit.ops.coding import BoxCoder
from detkit.ops.roi_align import roi_align, roi_align_pyramid
from detkit.ops.roi_pool import roi_pool, rounded_edges
from detkit.ops.sampling import Sampler
from detkit.spec import CustomConfig

HeadSpec = Layer4HeadConfig | Inception5HeadConfig | Fc6Fc7HeadConfig | TwoFcHeadConfig | ConvFcHeadConfig


def build_features(
    spec: AnyRegionsConfig, strides: Sequence[float], level: Level | None = None
) -> RegionFeatures:
    """Return what takes regions' features from maps.

    Args:
        spec: the config's `detector.regions`.
        strides: pixels per cell of the maps, finest first.
        level: chooses among several maps; None is that of a feature pyramid.
    """
    match spec:
        case RoIPoolConfig():
            return RegionFeatures(
                partial(roi_pool, size=spec.size), strides, level=level, rounding=rounded_edges
            )
        case RoIAlignConfig():
            options: dict[str, Any] = spec.model_dump(include={"size", "sampling_ratio", "aligned"})
            return RegionFeatures(
                partial(roi_align, **options), strides, partial(roi_align_pyramid, **options), level=level
            )
        case _:
            assert_never(spec)


def build_box_head(
    spec: HeadSpec,
    backbone_spec: AnyBackboneConfig,
    backbone: nn.Module,
    channels: int,
    size: int,
    ranks: tuple[int | None, int | None],
) -> BoxHead:
    """Return what makes a vector of a region's features, from scratch.

    Args:
        spec: the config's `detector.head`.
        backbone_spec: the config's `detector.backbone`; layer4 is a part of it.
        backbone: what was built of it.
        channels: channels of the features.
        size: cells along each side of a region.
        ranks: of fc6 and fc7, where the head has them; None is a whole layer.

    Raises:
        UserError: If the head needs another backbone.
    """
    match spec:
        case Layer4HeadConfig():
            if not isinstance(backbone_spec, ResNetConfig):
                raise UserError("head: layer4 is a part of backbone: resnet; it has no meaning with another")
            layer4 = make_stage(
                depth=backbone_spec.depth,
                stage=LAST,
                width=backbone_spec.width,
                norm=backbone_spec.norm,
                frozen=is_frozen(backbone_spec, LAST),
            )
            return Layer4Head(layer4)
        case Inception5HeadConfig():
            if not isinstance(backbone_spec, GoogLeNetConfig):
                raise UserError("head: inception5 is a part of backbone: googlenet alone")
            frozen = is_frozen(backbone_spec, LAST)
            width, norm = backbone_spec.width, backbone_spec.norm
            return Inception5Head(Inception5(channels, width=width, norm=norm, frozen=frozen))
        case Fc6Fc7HeadConfig():
            if not isinstance(backbone, SequentialBackbone):
                raise UserError(
                    "head: fc6_fc7 is a part of backbone: vgg, alexnet or zfnet; take two_fc with another"
                )
            width = backbone.fc_channels
            return FcHead(channels, size, channels=width, dropout=spec.dropout, ranks=ranks)
        case TwoFcHeadConfig():
            return FcHead(channels, size, channels=spec.channels, dropout=0.0, ranks=ranks)
        case ConvFcHeadConfig():
            return ConvFcHead(
                channels,
                size,
                num_convs=spec.num_convs,
                conv_channels=spec.conv_channels,
                channels=spec.channels,
                norm=spec.norm,
            )
        case _:
            assert_never(spec)


def ranks_of(spec: HeadSpec | CustomConfig) -> tuple[int | None, int | None]:
    """Return the ranks of fc6 and fc7; None is a whole layer, or none of that name."""
    return getattr(spec, "fc6_rank", None), getattr(spec, "fc7_rank", None)


def pretrained_parts(spec: HeadSpec, box_head: BoxHead, backbone: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of the head that the backbone's weights file holds, by what their keys begin with."""
    if isinstance(spec, Layer4HeadConfig) and isinstance(box_head, Layer4Head):
        return {"layer4.": box_head.layer4}
    if isinstance(spec, Inception5HeadConfig) and isinstance(box_head, Inception5Head):
        return {f"{name}.": part for name, part in box_head.inception5.named_children()}
    if isinstance(spec, Fc6Fc7HeadConfig) and isinstance(box_head, FcHead):
        assert isinstance(backbone, SequentialBackbone)
        return dict(zip(backbone.fc_keys, (box_head.fc6, box_head.fc7), strict=True))
    return {}


def build_roi_head(spec: HeadSpec, features: RegionFeatures, box_head: BoxHead, num_classes: int) -> RoIHead:
    """Return the head that classifies regions and refines their boxes."""
    return RoIHead(
        features,
        box_head,
        Predictor(box_head.channels, num_classes, class_agnostic=spec.class_agnostic),
        num_classes=num_classes,
        sampler=Sampler(spec.batch_per_image, spec.fg_fraction),
        fg_iou=spec.fg_iou,
        bg_iou=spec.bg_iou,
        crowd_iou=spec.crowd_iou,
        add_ground_truth=spec.add_ground_truth,
        coder=BoxCoder(spec.box_weights),
        beta=spec.beta,
        box_loss_weight=spec.box_loss_weight,
        normalize_by=spec.normalize_by,
        score_threshold=spec.score_threshold,
        nms_iou=spec.nms_iou,
        detections_per_image=spec.detections_per_image,
    )
