"""MobileNet's part of the YAML, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.backbones.family import BackboneFamily, LastStage
from detkit.models.backbones.width import divisible
from detkit.models.roi.head_config import LastStageHeadConfig

Variant = Literal["v2", "v3_small", "v3_large"]
Maps = Literal["stages", "last_stage"]

# Channels of the last block at strides 4, 8 and 16, and of the first at 32.
CHANNELS = {"v2": (24, 32, 96, 160), "v3_small": (16, 24, 48, 96), "v3_large": (24, 40, 112, 160)}


class MobileNetConfig(BackboneConfig):
    """MobileNetV2 (Sandler 2018) or MobileNetV3 (Howard 2019)."""

    type: Literal["mobilenet"] = "mobilenet"
    variant: Variant = "v3_large"
    """Which of the networks."""
    maps: Maps = "stages"
    """What a feature pyramid is built on: `stages`, the last map of each stage, at strides 4 to 32;
    `last_stage`, the maps of the last stage's first block and of the last convolution, both at stride 32
    (torchvision)."""
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""

    @property
    def map_strides(self) -> tuple[int, ...]:
        """Pixels per cell of the maps that it gives to a feature pyramid, finest first."""
        return super().map_strides if self.maps == "stages" else (32, 32)


def channels(spec: MobileNetConfig) -> tuple[int, ...]:
    """Return the channels at strides 4, 8 and 16, or of the first block at 32, and those of the last map."""
    *stages, first = (divisible(full * spec.width) for full in CHANNELS[spec.variant])
    last = divisible(1280 * max(1.0, spec.width)) if spec.variant == "v2" else 6 * first
    return (*(stages if spec.maps == "stages" else (first,)), last)


MOBILENET = BackboneFamily(
    config=MobileNetConfig,
    network="detkit.models.backbones.mobilenet.network:MobileNet",
    strides=(4, 8, 16, 32),
    channels=channels,
    cell_offset=(0.5 / 4, 0.5 / 8, 0.5 / 16, 0.5 / 32),
    behind=LastStage(
        make="detkit.models.backbones.mobilenet.network:make_stage", parts={"features.": ""}, costly=True
    ),
    head=LastStageHeadConfig,
    published={
        "mobilenet_v3_small": {"variant": "v3_small"},
        "mobilenet_v3_large": {"variant": "v3_large"},
        "mobilenet_v2": {"variant": "v2"},
    },
    classifier_dropout=0.2,
)
