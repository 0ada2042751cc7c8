"""ResNet's record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.models.backbones.family import BackboneFamily, LastStage
from detkit.models.backbones.resnet.config import Layer4HeadConfig, ResNetConfig
from detkit.models.backbones.width import scaled

if TYPE_CHECKING:
    from torch import nn

STAGES = 5


def build_resnet(spec: ResNetConfig, pyramid: bool) -> nn.Module:
    """Return a ResNet from scratch, with one map or four."""
    from detkit.models.backbones.resnet.network import ResNet

    return ResNet(
        depth=spec.depth, width=spec.width, norm=spec.norm, freeze_at=spec.frozen_stages, pyramid=pyramid
    )


def build_layer4(spec: ResNetConfig) -> nn.Module:
    """Return the last stage from scratch."""
    from detkit.models.backbones.resnet.network import make_stage

    frozen = spec.frozen_stages >= STAGES
    return make_stage(depth=spec.depth, stage=STAGES, width=spec.width, norm=spec.norm, frozen=frozen)


def channels(spec: ResNetConfig) -> tuple[int, ...]:
    """Return the channels of layer1 to layer4; a bottleneck's output is four times its planes."""
    expansion = 4 if spec.depth >= 50 else 1
    return tuple(scaled(planes, spec.width) * expansion for planes in (64, 128, 256, 512))


def published_name(spec: ResNetConfig) -> str:
    """Return torchvision's name, such as resnet50."""
    return f"resnet{spec.depth}"


RESNET = BackboneFamily(
    config=ResNetConfig,
    build=build_resnet,
    strides=(4, 8, 16, 32),
    channels=channels,
    cell_offset=(0.5 / 4, 0.5 / 8, 0.5 / 16, 0.5 / 32),
    behind=LastStage(build=build_layer4, parts={"layer4.": ""}, costly=True),
    head=Layer4HeadConfig,
    published_name=published_name,
    stages=STAGES,
)
