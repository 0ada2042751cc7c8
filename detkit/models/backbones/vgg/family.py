"""VGG's record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.models.backbones.family import BackboneFamily, FcLayers
from detkit.models.backbones.vgg.config import VGGConfig
from detkit.models.backbones.width import scaled

if TYPE_CHECKING:
    from torch import nn


def build_vgg(spec: VGGConfig, pyramid: bool) -> nn.Module:
    """Return a VGG from scratch, with one map or four."""
    from detkit.models.backbones.vgg import network

    return network.VGG(
        depth=spec.depth,
        batch_norm=spec.batch_norm,
        norm=spec.norm,
        width=spec.width,
        freeze_at=spec.frozen_stages,
        pyramid=pyramid,
    )


def channels(spec: VGGConfig) -> tuple[int, ...]:
    """Return the channels of conv3, conv4, conv5 and pool5."""
    return tuple(scaled(full, spec.width) for full in (256, 512, 512, 512))


def published_name(spec: VGGConfig) -> str:
    """Return torchvision's name, such as vgg16_bn."""
    return f"vgg{spec.depth}{'_bn' if spec.batch_norm else ''}"


VGG = BackboneFamily(
    config=VGGConfig,
    build=build_vgg,
    strides=(4, 8, 16, 32),
    channels=channels,
    cell_offset=(0.5, 0.5, 0.5, 0.5),
    behind=FcLayers(cells=7, keys=("classifier.0.", "classifier.3."), dropout_first=False),
    classifier_dropout=0.5,
    published_name=published_name,
)
