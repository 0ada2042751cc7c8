"""ResNet's part of the YAML, the backbone and the head made of its last stage, and its record."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.backbones.family import BackboneFamily, LastStage
from detkit.models.backbones.width import scaled
from detkit.models.roi.head_config import HeadConfig
from detkit.spec import Count

StrideIn = Literal["3x3", "1x1"]
FIRST_BOTTLENECK = 50  # the depth from which blocks are bottlenecks


class ResNetConfig(BackboneConfig):
    """ResNet (He 2016), ResNeXt (Xie 2017) or Wide ResNet (Zagoruyko and Komodakis 2016)."""

    type: Literal["resnet"] = "resnet"
    depth: Literal[18, 34, 50, 101, 152] = 50
    """Number of layers with weights."""
    groups: Count = 1
    """Groups of the 3x3 convolution of a bottleneck: 32 or 64 in ResNeXt."""
    width_per_group: Count = 64
    """Channels of each group in layer1, which double from stage to stage: 4 or 8 in ResNeXt, 128 with one
    group in Wide ResNet."""
    stride_in: StrideIn = "3x3"
    """Which convolution of a bottleneck halves the map: the 3x3 one in torchvision's networks, the first 1x1
    one in the paper's and in weights that come from Caffe."""
    dc5: bool = False
    """Give layer4 instead of layer3, also at stride 16: its 3x3 convolutions are dilated by two in the place
    of the stride (DC5). For a detector with regions of one map, and a head of new layers."""
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""

    @model_validator(mode="after")
    def _bottlenecks_have_them(self) -> Self:
        for key in ("groups", "width_per_group", "stride_in", "dc5"):
            if self.depth < FIRST_BOTTLENECK and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key} is a key of bottlenecks, which depth {self.depth} has none of; remove it, or "
                    "take depth: 50, 101 or 152"
                )
        return self

    @property
    def uses_last_stage(self) -> bool:
        """Whether the last stage comes before the regions."""
        return self.dc5


class Layer4HeadConfig(HeadConfig):
    """The ResNet's own last stage on every region, then a mean over it (He 2016, the C4 wiring)."""

    type: Literal["layer4"] = "layer4"


def channels(spec: ResNetConfig) -> tuple[int, ...]:
    """Return the channels of layer1 to layer4; a bottleneck's output is four times its planes."""
    expansion = 4 if spec.depth >= FIRST_BOTTLENECK else 1
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
    published={
        **{f"resnet{depth}": {"depth": depth} for depth in (18, 34, 50, 101, 152)},
        "resnext50_32x4d": {"depth": 50, "groups": 32, "width_per_group": 4},
        "resnext101_32x8d": {"depth": 101, "groups": 32, "width_per_group": 8},
        "resnext101_64x4d": {"depth": 101, "groups": 64, "width_per_group": 4},
        "wide_resnet50_2": {"depth": 50, "width_per_group": 128},
        "wide_resnet101_2": {"depth": 101, "width_per_group": 128},
    },
)
