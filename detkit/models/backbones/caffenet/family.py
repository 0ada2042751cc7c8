"""CaffeNet's part of the YAML, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Stages
from detkit.models.backbones.family import BackboneFamily, FcLayers
from detkit.models.backbones.width import scaled


class CaffeNetConfig(BackboneConfig):
    """CaffeNet (Jia 2014), the AlexNet of R-CNN and Fast R-CNN, with groups and response norms; stride 16."""

    type: Literal["caffenet"] = "caffenet"
    freeze_at: Stages = 1
    """How many convolutions from the input on stay as they are (Fast R-CNN freezes conv1)."""


CAFFENET = BackboneFamily(
    config=CaffeNetConfig,
    network="detkit.models.backbones.caffenet.network:CaffeNet",
    strides=(16,),
    channels=lambda spec: (scaled(256, spec.width),),
    cell_offset=(0.5 / 16,),
    # torchvision has no CaffeNet; its dropout stands behind fc6 and fc7, as VGG's, whose names they have.
    behind=FcLayers(cells=6, keys=("classifier.0.", "classifier.3."), dropout_first=False),
    classifier_dropout=0.5,
    padded_for_regions=True,
    smallest_crop_px=23,  # the second pooling sees two cells
)
