"""ZFNet's part of the YAML, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Stages
from detkit.models.backbones.family import BackboneFamily, FcLayers
from detkit.models.backbones.width import scaled


class ZFNetConfig(BackboneConfig):
    """ZFNet (Zeiler and Fergus 2014, as in SPP-net and Faster R-CNN): conv1 to conv5, stride 16."""

    type: Literal["zfnet"] = "zfnet"
    freeze_at: Stages = 1
    """How many convolutions from the input on stay as they are."""


ZFNET = BackboneFamily(
    config=ZFNetConfig,
    network="detkit.models.backbones.zfnet.network:ZFNet",
    strides=(16,),
    channels=lambda spec: (scaled(256, spec.width),),
    cell_offset=(0.5 / 16,),
    # torchvision has no ZFNet; files have its layers in AlexNet's order.
    behind=FcLayers(cells=6, keys=("classifier.1.", "classifier.4."), dropout_first=True),
    classifier_dropout=0.5,
)
