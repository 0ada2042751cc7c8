"""ZFNet's record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.models.backbones.family import BackboneFamily, FcLayers
from detkit.models.backbones.width import scaled
from detkit.models.backbones.zfnet.config import ZFNetConfig

if TYPE_CHECKING:
    from torch import nn


def build_zfnet(spec: ZFNetConfig, pyramid: bool) -> nn.Module:
    """Return a ZFNet from scratch; it has no pyramid."""
    from detkit.models.backbones.zfnet.network import ZFNet

    assert not pyramid
    return ZFNet(width=spec.width, freeze_at=spec.frozen_stages)


ZFNET = BackboneFamily(
    config=ZFNetConfig,
    build=build_zfnet,
    strides=(16,),
    channels=lambda spec: (scaled(256, spec.width),),
    cell_offset=(0.5 / 16,),
    # torchvision has no ZFNet; files have its layers in AlexNet's order.
    behind=FcLayers(cells=6, keys=("classifier.1.", "classifier.4."), dropout_first=True),
    classifier_dropout=0.5,
)
