"""AlexNet's record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.models.backbones.alexnet.config import AlexNetConfig
from detkit.models.backbones.family import BackboneFamily, FcLayers
from detkit.models.backbones.width import scaled

if TYPE_CHECKING:
    from torch import nn


def build_alexnet(spec: AlexNetConfig, pyramid: bool) -> nn.Module:
    """Return an AlexNet from scratch; it has no pyramid."""
    from detkit.models.backbones.alexnet.network import AlexNet

    assert not pyramid
    return AlexNet(width=spec.width, freeze_at=spec.frozen_stages)


ALEXNET = BackboneFamily(
    config=AlexNetConfig,
    build=build_alexnet,
    strides=(16,),
    channels=lambda spec: (scaled(256, spec.width),),
    cell_offset=(0.5 / 16,),
    behind=FcLayers(cells=6, keys=("classifier.1.", "classifier.4."), dropout_first=True),
    classifier_dropout=0.5,
)
