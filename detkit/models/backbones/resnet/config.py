"""ResNet's part of the YAML: the backbone, and the head made of its last stage."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.roi.head_config import HeadConfig


class ResNetConfig(BackboneConfig):
    """ResNet (He 2016) with torchvision's stride in the 3x3 convolution."""

    type: Literal["resnet"] = "resnet"
    depth: Literal[18, 34, 50, 101, 152] = 50
    """Number of layers with weights."""
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""


class Layer4HeadConfig(HeadConfig):
    """The ResNet's own last stage on every region, then a mean over it (He 2016, the C4 wiring)."""

    type: Literal["layer4"] = "layer4"
