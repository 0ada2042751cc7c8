"""The `backbone` of a detector that reads cut out regions -> its network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from detkit.detectors.rcnn.crop_network import CropNetwork
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, is_frozen, load_pretrained
from detkit.models.backbones.config import (
    AlexNetConfig,
    AnyBackboneConfig,
    GoogLeNetConfig,
    ResNetConfig,
    VGGConfig,
    ZFNetConfig,
)
from detkit.models.backbones.googlenet.network import Inception5
from detkit.models.backbones.resnet.network import LAST, make_stage
from detkit.models.backbones.sequential import SequentialBackbone
from detkit.models.roi.box_heads import BoxHead, FcHead, Inception5Head, Layer4Head, MeanHead
from detkit.spec import CustomConfig

FC6_CELLS = {"alexnet": 6, "zfnet": 6, "vgg": 7}
"""Cells along each side of what fc6 sees, in the networks that have it."""


def build_crop_network(spec: AnyBackboneConfig, dropout: float, on_weights: OnWeights | None) -> CropNetwork:
    """Return a backbone with the rest of its network but the last layer, with its pretrained weights.

    Args:
        spec: the config's `detector.backbone`.
        dropout: share of activations dropped after fc6 and fc7 while training.
        on_weights: told what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or a part does not fit.
    """
    backbone = build_backbone(spec, pyramid=False)
    head, parts = _head(spec, backbone, dropout)
    if on_weights is not None and not isinstance(spec, CustomConfig) and spec.weights != "none":
        on_weights(load_pretrained(spec, {"": backbone, **parts}))
    return CropNetwork(backbone, head, FC6_CELLS.get(spec.type, 1))


def _head(
    spec: AnyBackboneConfig, backbone: nn.Module, dropout: float
) -> tuple[BoxHead, dict[str, nn.Module]]:
    """Return what stands behind the backbone, and its parts by what their keys in files begin with."""
    channels = cast(Sequence[int], backbone.channels)[-1]
    match spec:
        case AlexNetConfig() | ZFNetConfig() | VGGConfig():
            assert isinstance(backbone, SequentialBackbone)
            fc = FcHead(channels, FC6_CELLS[spec.type], channels=backbone.fc_channels, dropout=dropout)
            return fc, dict(zip(backbone.fc_keys, (fc.fc6, fc.fc7), strict=True))
        case ResNetConfig():
            frozen = is_frozen(spec, LAST)
            layer4 = make_stage(depth=spec.depth, stage=LAST, width=spec.width, norm=spec.norm, frozen=frozen)
            return Layer4Head(layer4), {"layer4.": layer4}
        case GoogLeNetConfig():
            frozen = is_frozen(spec, LAST)
            stage = Inception5(channels, width=spec.width, norm=spec.norm, frozen=frozen)
            return Inception5Head(stage), {f"{name}.": part for name, part in stage.named_children()}
        case CustomConfig():
            return MeanHead(channels), {}
