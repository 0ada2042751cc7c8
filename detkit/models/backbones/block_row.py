"""Backbones that torchvision builds as one row of blocks, cut where the map is halved.

What torchvision has there is taken as it is, under its names; only the norms are those of detectors, and
the blocks behind the last map become a stage of their own.
"""

from __future__ import annotations

from itertools import accumulate

from torch import Tensor, nn

from detkit.models.initialisation import he_normal
from detkit.models.norm import Norm, make_norm, run_layers

STAGES = 5  # the maps of stage s have strides of 2 to the s
# Factors of a block's last convolution where norms are frozen and weights at random: found by trying, so that
# no network's maps vanish or grow.
_RESIDUAL, _GATED = 0.15, 1.8


class BlockRow(nn.Module):
    """A row of blocks that gives one map (stride 16) or four (strides 4 to 32), or two of the last stage.

    Args:
        features: torchvision's blocks from scratch.
        norm: what follows every convolution.
        freeze_at: how many stages from the input on stay as they are; a stage ends before the map is halved.
        pyramid: whether to give four maps.

    Attributes:
        channels: number of channels of each map.
        strides: pixels per cell of each map.
    """

    def __init__(self, features: nn.Sequential, *, norm: Norm, freeze_at: int, pyramid: bool) -> None:
        super().__init__()
        stages = split(features)[: STAGES if pyramid else STAGES - 1]
        self.features = nn.Sequential()
        self.ends: list[int] = []
        for number, stage in enumerate(stages, 1):
            for name, block in adapted(stage, norm, frozen=number <= freeze_at).named_children():
                self.features.add_module(name, block)
            self.ends.append(len(self.features))
        first = 1 if pyramid else len(stages) - 1
        self.ends = self.ends[first:]
        self.channels = tuple(_convs(stage)[-1].out_channels for stage in stages[first:])
        self.strides = tuple(2**number for number in range(first + 1, len(stages) + 1))

    def give_last_stage(self) -> None:
        """Give two maps, of the last stage's first block and its last one, in the place of all stages'."""
        self.ends = [self.ends[-2] + 1, self.ends[-1]]
        self.channels = tuple(_convs(self.features[end - 1])[-1].out_channels for end in self.ends)
        self.strides = self.strides[-1:] * 2

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of (B, 3, H, W) normalised images, finest first."""
        x, maps = pixels, []
        for number, block in enumerate(self.features, 1):
            x = block(x)
            if number in self.ends:
                maps.append(x)
        return maps


class ConvNormActivation(nn.Sequential):
    """torchvision's row of a convolution, its norm and an activation, with a frozen norm in its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H', W') features."""
        return run_layers(self, x)


def split(features: nn.Sequential) -> list[nn.Sequential]:
    """Return the blocks of each stage, under the names that they have in the whole row."""
    halvings = accumulate(any(_stride(conv) > 1 for conv in _convs(block)) for block in features)
    stages = [nn.Sequential() for _ in range(STAGES)]
    for (name, block), number in zip(features.named_children(), halvings, strict=True):
        stages[number - 1].add_module(name, block)
    return stages


def adapted(stage: nn.Sequential, norm: Norm, *, frozen: bool) -> nn.Sequential:
    """Return a stage of torchvision's with the norms of detectors, and weights from scratch.

    Frozen norms from scratch do not hold activations in bounds, so the last convolution of a residual branch,
    which no activation follows, starts smaller, and where a gate that opens by half stands before it, larger.

    Args:
        stage: the blocks; they are changed.
        norm: what follows every convolution.
        frozen: whether the stage stays as it is.
    """
    he_normal(stage)
    for module in list(stage.modules()):
        if norm == "frozen" and (is_residual := getattr(module, "use_res_connect", None)) is not None:
            gated = any(hasattr(part, "scale_activation") for part in module.modules())
            _convs(module)[-1].weight.data.mul_(_RESIDUAL if is_residual else _GATED if gated else 1.0)
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                module.add_module(name, _norm_like(child, "frozen" if frozen else norm))
    for module in list(stage.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Sequential) and isinstance(child[0], nn.Conv2d):
                module.add_module(name, ConvNormActivation(*child))
    return stage.requires_grad_(not frozen)


def _norm_like(found: nn.BatchNorm2d, kind: Norm) -> nn.Module:
    norm = make_norm(kind, found.num_features)
    for name in ("eps", "momentum"):
        if hasattr(norm, name):
            setattr(norm, name, getattr(found, name))
    return norm


def _convs(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def _stride(conv: nn.Conv2d) -> int:
    return conv.stride[0]
