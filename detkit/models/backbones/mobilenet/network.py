"""MobileNetV2 (Sandler et al., CVPR 2018) and V3 (Howard et al., ICCV 2019): torchvision's blocks."""

from __future__ import annotations

from typing import cast

from torch import nn

from detkit.models.backbones.block_row import STAGES, BlockRow, adapted, split
from detkit.models.backbones.mobilenet.family import Maps, Variant
from detkit.models.norm import Norm


def features(variant: Variant, width: float) -> nn.Sequential:
    """Return the blocks of a network from scratch.

    Args:
        variant: which network.
        width: multiplier of every number of channels.
    """
    import torchvision.models  # late, as in `detkit.ops.nms`

    network = torchvision.models.get_model(f"mobilenet_{variant}", weights=None, width_mult=width)
    return cast(nn.Sequential, network.features)


def make_stage(
    *, variant: Variant, stage: int, width: float, norm: Norm, frozen: bool, maps: Maps = "stages"
) -> nn.Sequential:
    """Return the last stage from scratch, whatever `maps` are; see `backbones.family.LastStage`."""
    assert stage == STAGES
    return adapted(split(features(variant, width))[-1], norm, frozen=frozen)


class MobileNet(BlockRow):
    """A MobileNet; one map (stride 16), four (4, 8 and 16, and the last convolution) or two (both 32).

    Args:
        variant: v2, v3_small or v3_large.
        width: multiplier of every number of channels.
        norm: what follows every convolution.
        freeze_at: how many stages from the input on stay as they are; a stage ends before the map is halved.
        pyramid: whether to give several maps.
        maps: which: the last of all stages, or the last stage's first block and its last convolution.
    """

    def __init__(
        self,
        *,
        variant: Variant = "v3_large",
        width: float = 1.0,
        norm: Norm = "frozen",
        freeze_at: int = 0,
        pyramid: bool = False,
        maps: Maps = "stages",
    ) -> None:
        super().__init__(features(variant, width), norm=norm, freeze_at=freeze_at, pyramid=pyramid)
        if pyramid and maps == "last_stage":
            self.give_last_stage()
