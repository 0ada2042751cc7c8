"""ResNet (He et al., Deep Residual Learning, CVPR 2016) and what differs inside its bottlenecks.

ResNeXt (Xie et al., Aggregated Residual Transformations, CVPR 2017) has groups there, and Wide ResNet
(Zagoruyko and Komodakis, BMVC 2016) more channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.backbones.resnet.family import FIRST_BOTTLENECK, StrideIn
from detkit.models.backbones.width import scaled
from detkit.models.initialisation import he_normal
from detkit.models.norm import Norm, conv_norm, make_norm, run_layers
from detkit.ops.convolution import Conv2d

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
PLANES = (64, 128, 256, 512)
EXPANSION = 4
LAST = 5  # the stem is stage 1, layer1 to layer4 are stages 2 to 5


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 in a bottleneck.

    Args:
        channels_in: channels of the input.
        inside: channels inside a bottleneck; None for a block of two convolutions.
        channels: channels of the output.
        stride: stride of the (first) 3x3 convolution, or of the first 1x1 one.
        norm: what follows every convolution.
        groups: groups of a bottleneck's 3x3 convolution.
        stride_in: which convolution of a bottleneck has the stride.
        dilation: of a bottleneck's 3x3 convolution.
    """

    def __init__(
        self,
        channels_in: int,
        inside: int | None,
        channels: int,
        *,
        stride: int,
        norm: Norm,
        groups: int = 1,
        stride_in: StrideIn = "3x3",
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.channels = channels
        if inside is None:
            plan = [(channels_in, channels, 3, stride, 1), (channels, channels, 3, 1, 1)]
        else:
            first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
            plan = [(channels_in, inside, 1, first, 1), (inside, inside, 3, second, groups)]
            plan.append((inside, channels, 1, 1, 1))
        self.steps = len(plan)
        for number, (before, after, size, step, parts) in enumerate(plan, 1):
            apart = dilation if size > 1 else 1
            conv = Conv2d(
                before, after, size, step, padding=size // 2 * apart, dilation=apart, groups=parts, bias=False
            )
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", make_norm(norm, after))
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels:
            shortcut = Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, make_norm(norm, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride) features."""
        out = x
        for number in range(1, self.steps + 1):
            if number > 1:
                out = F.relu(out, inplace=True)
            out = conv_norm(getattr(self, f"conv{number}"), getattr(self, f"bn{number}"), out)
        shortcut = x if self.downsample is None else run_layers(self.downsample, x)
        # In place: fresh memory for the sum would cost more than adding.
        return F.relu(out.add_(shortcut), inplace=True)


def make_stage(
    *,
    depth: int,
    stage: int,
    width: float,
    norm: Norm,
    frozen: bool,
    groups: int = 1,
    width_per_group: int = 64,
    stride_in: StrideIn = "3x3",
    dc5: bool = False,
) -> nn.Sequential:
    """Return layer1 to layer4 (stages 2 to 5) of a ResNet from scratch.

    A frozen norm from scratch does not hold the activations in bounds, so the last convolution of each
    residual branch starts smaller, by the root of the number of blocks: the sum then stays of one size.

    Args:
        depth: 18, 34, 50, 101 or 152.
        stage: 2 to 5.
        width: multiplier of every number of channels.
        norm: what follows every convolution.
        frozen: whether the stage stays as it is.
        groups: groups of a bottleneck's 3x3 convolution.
        width_per_group: channels of each group in layer1.
        stride_in: which convolution of a bottleneck has the stride.
        dc5: whether layer4 is dilated in the place of its stride.
    """
    dilated = dc5 and stage == LAST
    index, expansion = stage - 2, EXPANSION if depth >= FIRST_BOTTLENECK else 1
    channels = scaled(PLANES[index], width) * expansion
    stem_or_last = scaled(PLANES[0], width) if index == 0 else scaled(PLANES[index - 1], width) * expansion
    inside = scaled(PLANES[index] * width_per_group // PLANES[0] * groups, width, groups)
    blocks = [
        Block(
            channels if number else stem_or_last,
            inside if expansion > 1 else None,
            channels,
            stride=2 if index and not number and not dilated else 1,
            norm="frozen" if frozen else norm,
            groups=groups,
            stride_in=stride_in,
            dilation=2 if dilated else 1,
        )
        for number in range(BLOCKS[depth][index])
    ]
    layers = nn.Sequential(*blocks)
    he_normal(layers)
    if norm == "frozen":
        with torch.no_grad():
            for block in blocks:
                getattr(block, f"conv{block.steps}").weight.mul_(sum(BLOCKS[depth]) ** -0.5)
    return layers.requires_grad_(not frozen)


class ResNet(nn.Module):
    """The stem and the stages of a ResNet; one map (layer3, or a dilated layer4) or four (layer1 to layer4).

    Args:
        depth: 18, 34, 50, 101 or 152.
        width: multiplier of every number of channels.
        norm: what follows every convolution.
        groups: groups of a bottleneck's 3x3 convolution.
        width_per_group: channels of each group in layer1.
        stride_in: which convolution of a bottleneck has the stride.
        dc5: whether the one map is layer4's, dilated in the place of its stride.
        freeze_at: how many stages from the input on stay as they are; the stem is the first.
        pyramid: whether to give four maps.

    Attributes:
        channels: number of channels of each map.
        strides: pixels per cell of each map.
    """

    def __init__(
        self,
        *,
        depth: int = 50,
        width: float = 1.0,
        norm: Norm = "frozen",
        groups: int = 1,
        width_per_group: int = 64,
        stride_in: StrideIn = "3x3",
        dc5: bool = False,
        freeze_at: int = 0,
        pyramid: bool = False,
    ) -> None:
        super().__init__()
        stem = scaled(PLANES[0], width)
        self.conv1 = Conv2d(3, stem, 7, 2, padding=3, bias=False).requires_grad_(freeze_at < 1)
        self.bn1 = make_norm("frozen" if freeze_at >= 1 else norm, stem)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        he_normal(self.conv1)
        self.names = tuple(f"layer{stage - 1}" for stage in range(2, LAST + (pyramid or dc5)))
        for stage, name in enumerate(self.names, 2):
            layers = make_stage(
                depth=depth,
                stage=stage,
                width=width,
                norm=norm,
                frozen=stage <= freeze_at,
                groups=groups,
                width_per_group=width_per_group,
                stride_in=stride_in,
                dc5=dc5,
            )
            self.add_module(name, layers)
        self.given = self.names if pyramid else self.names[-1:]
        self.channels = tuple(getattr(self, name)[-1].channels for name in self.given)
        self.strides = (4, 8, 16, 32) if pyramid else (16,)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of (B, 3, H, W) normalised images, finest first."""
        x = self.maxpool(F.relu(conv_norm(self.conv1, self.bn1, pixels), inplace=True))
        maps: list[Tensor] = []
        for name in self.names:
            x = getattr(self, name)(x)
            if name in self.given:
                maps.append(x)
        return maps
