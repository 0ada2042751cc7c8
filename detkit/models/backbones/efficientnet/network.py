"""EfficientNet (Tan and Le, ICML 2019 and 2021): torchvision's blocks at any width."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple, cast

from torch import nn

from detkit.models.backbones.block_row import STAGES, BlockRow, adapted, split
from detkit.models.backbones.efficientnet.family import SCALES, Variant
from detkit.models.backbones.width import divisible
from detkit.models.norm import Norm

EPS = 1e-3  # of the norms in the published weights of the larger networks


class Row(NamedTuple):
    """Blocks of one kind: a row of the papers' tables."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int
    fused: bool = False


B0 = (
    Row(1, 3, 1, 16, 1),
    Row(6, 3, 2, 24, 2),
    Row(6, 5, 2, 40, 2),
    Row(6, 3, 2, 80, 3),
    Row(6, 5, 1, 112, 3),
    Row(6, 5, 2, 192, 4),
    Row(6, 3, 1, 320, 1),
)
V2 = {
    "v2_s": (
        Row(1, 3, 1, 24, 2, fused=True),
        Row(4, 3, 2, 48, 4, fused=True),
        Row(4, 3, 2, 64, 4, fused=True),
        Row(4, 3, 2, 128, 6),
        Row(6, 3, 1, 160, 9),
        Row(6, 3, 2, 256, 15),
    ),
    "v2_m": (
        Row(1, 3, 1, 24, 3, fused=True),
        Row(4, 3, 2, 48, 5, fused=True),
        Row(4, 3, 2, 80, 5, fused=True),
        Row(4, 3, 2, 160, 7),
        Row(6, 3, 1, 176, 14),
        Row(6, 3, 2, 304, 18),
        Row(6, 3, 1, 512, 5),
    ),
}
STEM = {"b": 32, "v": 24}
V2_LAST = 1280


def features(variant: Variant, width: float) -> nn.Sequential:
    """Return the blocks of a network from scratch; all of them are kept in training.

    Args:
        variant: which network.
        width: multiplier of every number of channels.
    """
    from torchvision.models.efficientnet import (  # late, as in `detkit.ops.nms`
        EfficientNet as Published,
    )
    from torchvision.models.efficientnet import (
        FusedMBConvConfig,
        MBConvConfig,
    )

    wider, deeper = SCALES.get(variant, (1.0, 1.0))
    before = divisible(STEM[variant[0]] * wider * width)
    settings = []
    for row in V2.get(variant, B0):
        kind = FusedMBConvConfig if row.fused else MBConvConfig
        after, blocks = divisible(row.channels * wider * width), math.ceil(row.blocks * deeper)
        settings.append(kind(row.expansion, row.kernel, row.stride, before, after, blocks))
        before = after
    last = divisible(V2_LAST * width) if variant in V2 else None
    norm = partial(nn.BatchNorm2d, eps=EPS) if variant in ("b5", "b6", "b7", *V2) else nn.BatchNorm2d
    whole = Published(settings, dropout=0.0, stochastic_depth_prob=0.0, last_channel=last, norm_layer=norm)
    return cast(nn.Sequential, whole.features)


def make_stage(*, variant: Variant, stage: int, width: float, norm: Norm, frozen: bool) -> nn.Sequential:
    """Return the last stage from scratch; see `detkit.models.backbones.family.LastStage`."""
    assert stage == STAGES
    return adapted(split(features(variant, width))[-1], norm, frozen=frozen)


class EfficientNet(BlockRow):
    """An EfficientNet; one map (stride 16) or four (strides 4, 8 and 16, and the last convolution).

    Args:
        variant: b0 to b7, v2_s or v2_m.
        width: multiplier of every number of channels.
        norm: what follows every convolution.
        freeze_at: how many stages from the input on stay as they are; a stage ends before the map is halved.
        pyramid: whether to give four maps.
    """

    def __init__(
        self,
        *,
        variant: Variant = "b0",
        width: float = 1.0,
        norm: Norm = "frozen",
        freeze_at: int = 0,
        pyramid: bool = False,
    ) -> None:
        super().__init__(features(variant, width), norm=norm, freeze_at=freeze_at, pyramid=pyramid)
