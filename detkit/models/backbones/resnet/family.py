"""ResNet's part of the YAML, the backbone and the head made of its last stage, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.backbones.family import BackboneFamily, LastStage
from detkit.models.backbones.width import scaled
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


def channels(spec: ResNetConfig) -> tuple[int, ...]:
    """Return the channels of layer1 to layer4; a bottleneck's output is four times its planes."""
    expansion = 4 if spec.depth >= 50 else 1
    return tuple(scaled(planes, spec.width) * expansion for planes in (64, 128, 256, 512))


RESNET = BackboneFamily(
    config=ResNetConfig,
    network="detkit.models.backbones.resnet.network:ResNet",
    strides=(4, 8, 16, 32),
    channels=channels,
    cell_offset=(0.5 / 4, 0.5 / 8, 0.5 / 16, 0.5 / 32),
    behind=LastStage(
        make="detkit.models.backbones.resnet.network:make_stage", parts={"layer4.": ""}, costly=True
    ),
    head=Layer4HeadConfig,
)
