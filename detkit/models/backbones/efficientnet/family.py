"""EfficientNet's part of the YAML, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.backbones.family import BackboneFamily, LastStage
from detkit.models.backbones.width import divisible
from detkit.models.roi.head_config import LastStageHeadConfig

Variant = Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "v2_s", "v2_m"]

SCALES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}
"""Of the first version how many times the channels and the blocks of b0 there are."""


class EfficientNetConfig(BackboneConfig):
    """EfficientNet (Tan and Le 2019) or EfficientNetV2 (Tan and Le 2021)."""

    type: Literal["efficientnet"] = "efficientnet"
    variant: Variant = "b0"
    """Which of the networks."""
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""


def channels(spec: EfficientNetConfig) -> tuple[int, ...]:
    """Return the channels of the last block at strides 4, 8 and 16, and of the last convolution."""
    if spec.variant in SCALES:
        width = SCALES[spec.variant][0] * spec.width
        return (*(divisible(full * width) for full in (24, 40, 112)), 4 * divisible(320 * width))
    ends = {"v2_s": (48, 64, 160), "v2_m": (48, 80, 176)}[spec.variant]
    return tuple(divisible(full * spec.width) for full in (*ends, 1280))


EFFICIENTNET = BackboneFamily(
    config=EfficientNetConfig,
    network="detkit.models.backbones.efficientnet.network:EfficientNet",
    strides=(4, 8, 16, 32),
    channels=channels,
    cell_offset=(0.5 / 4, 0.5 / 8, 0.5 / 16, 0.5 / 32),
    behind=LastStage(
        make="detkit.models.backbones.efficientnet.network:make_stage", parts={"features.": ""}, costly=True
    ),
    head=LastStageHeadConfig,
    published={f"efficientnet_{variant}": {"variant": variant} for variant in (*SCALES, "v2_s", "v2_m")},
    classifier_dropout=0.2,
)
