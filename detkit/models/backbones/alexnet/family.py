"""AlexNet's part of the YAML, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Stages
from detkit.models.backbones.family import BackboneFamily, FcLayers
from detkit.models.backbones.width import scaled


class AlexNetConfig(BackboneConfig):
    """AlexNet (Krizhevsky 2012, in torchvision's one-tower form): conv1 to conv5, stride 16."""

    type: Literal["alexnet"] = "alexnet"
    freeze_at: Stages = 1
    """How many convolutions from the input on stay as they are (Fast R-CNN freezes conv1)."""


ALEXNET = BackboneFamily(
    config=AlexNetConfig,
    network="detkit.models.backbones.alexnet.network:AlexNet",
    strides=(16,),
    channels=lambda spec: (scaled(256, spec.width),),
    cell_offset=(0.5 / 16,),
    behind=FcLayers(cells=6, keys=("classifier.1.", "classifier.4."), dropout_first=True),
    classifier_dropout=0.5,
)
