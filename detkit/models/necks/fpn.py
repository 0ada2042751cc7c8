"""Feature pyramid (Lin et al., Feature Pyramid Networks, CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.initialisation import lecun_uniform
from detkit.models.norm import Norm, conv_block


class Neck(nn.Module):
    """A module between a backbone and the rest: feature maps -> feature maps, finest first.

    Attributes:
        channels: channels of each map that it returns.
        strides: pixels of the image per cell of each.
        region_strides: those of the maps that regions are taken from, the first ones; the rest is for
            proposals alone.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    region_strides: tuple[int, ...]


class FPN(Neck):
    """Maps of one width at every stride, each knowing what the coarser ones saw, and one coarser still.

    The last map is every second cell of the one before it; only proposals are made from it. Where the
    backbone's maps have one stride, no region's size tells them apart, and all are taken from the first.

    Args:
        channels_in: channels of the backbone's maps, finest first.
        strides_in: their strides.
        channels: channels of every map of the pyramid.
        norm: batch normalisation after each convolution.
    """

    def __init__(
        self,
        channels_in: Sequence[int],
        strides_in: Sequence[int],
        *,
        channels: int = 256,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(
            conv_block(before, channels, size=1, norm=norm, relu=False) for before in channels_in
        )
        self.layer_blocks = nn.ModuleList(
            conv_block(channels, channels, size=3, norm=norm, relu=False) for _ in channels_in
        )
        self.channels = (channels,) * (len(channels_in) + 1)
        self.region_strides = tuple(strides_in if len(set(strides_in)) > 1 else strides_in[:1])
        self.strides = (*strides_in, 2 * strides_in[-1])
        lecun_uniform(self)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the pyramid over the backbone's maps, finest first."""
        top = self.inner_blocks[-1](maps[-1])
        pyramid: list[Tensor] = [self.layer_blocks[-1](top)]
        for index in reversed(range(len(maps) - 1)):
            lateral = self.inner_blocks[index](maps[index])
            top = lateral.add_(F.interpolate(top, size=lateral.shape[-2:], mode="nearest"))
            pyramid.insert(0, self.layer_blocks[index](top))
        # Pooling over one cell is every second cell, in a map that lies in memory as the others do.
        return [*pyramid, F.max_pool2d(pyramid[-1], 1, stride=2)]


class PlainMaps(Neck):
    """The backbone's maps as they are.

    Args:
        channels_in: channels of the backbone's maps.
        strides_in: their strides.
    """

    def __init__(self, channels_in: Sequence[int], strides_in: Sequence[int]) -> None:
        super().__init__()
        self.channels, self.strides = tuple(channels_in), tuple(strides_in)
        self.region_strides = self.strides

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps."""
        return list(maps)
