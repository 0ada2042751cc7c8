"""MobileNet's part of the YAML, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.backbones.family import BackboneFamily, LastStage
from detkit.models.backbones.width import divisible
from detkit.models.roi.head_config import LastStageHeadConfig

Variant = Literal["v2", "v3_small", "v3_large"]

# Channels of the last block at strides 4, 8 and 16.
CHANNELS = {"v2": (24, 32, 96), "v3_small": (16, 24, 48), "v3_large": (24, 40, 112)}


class MobileNetConfig(BackboneConfig):
    """MobileNetV2 (Sandler 2018) or MobileNetV3 (Howard 2019)."""

    type: Literal["mobilenet"] = "mobilenet"
    variant: Variant = "v3_large"
    """Which of the networks."""
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""


def channels(spec: MobileNetConfig) -> tuple[int, ...]:
    """Return the channels at strides 4, 8 and 16, and of the last convolution."""
    if spec.variant == "v2":
        last = divisible(1280 * max(1.0, spec.width))
    else:
        last = 6 * divisible({"v3_small": 96, "v3_large": 160}[spec.variant] * spec.width)
    return (*(divisible(full * spec.width) for full in CHANNELS[spec.variant]), last)


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
