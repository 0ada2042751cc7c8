"""The rest of a published network behind its backbone: what makes class logits of the last map.

It has three steps, behind each of which another head may branch off: `map`, `vector` and `logits`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.backbones.families import PublishedBackboneConfig, family_of
from detkit.models.backbones.family import FcLayers
from detkit.models.initialisation import gaussian, he_normal
from detkit.ops.ordered_pool import adaptive_max_pool


class FcTail(nn.Module):
    """fc6, fc7 and the logits of a network that has them, under torchvision's names.

    conv5 is max-pooled to the size that fc6 wants whatever the image's size, as RoIPool would do it with the
    whole image as the region; for a VGG and 224 pixels that is pool5.

    Args:
        channels_in: channels of conv5.
        size: cells along each side that fc6 sees.
        channels: width of fc6 and fc7.
        dropout_first: whether dropout stands before each of them (AlexNet, ZFNet) instead of behind it.
        dropout: fraction of activations dropped.
        num_classes: K.
    """

    def __init__(
        self,
        channels_in: int,
        size: int,
        *,
        channels: int,
        dropout_first: bool,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for inputs in (channels_in * size * size, channels):
            layers += [nn.Linear(inputs, channels), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        if dropout_first:
            layers = [layers[-1], *layers[:-1]]
        self.classifier = nn.Sequential(*layers)
        he_normal(self.classifier)
        self.classifier.append(gaussian_linear(channels, num_classes))
        self.outputs_per_class = {"classifier.6": 1}
        self.map_channels, self.vector_channels = channels_in, channels

    def cut_behind(self, step: Literal["map", "vector"]) -> None:
        """Leave out the layers behind a step, where nobody asks for what they say."""
        self.outputs_per_class = {}
        if step == "map":
            self.classifier = nn.Sequential(nn.Identity())
        else:
            self.classifier[-1] = nn.Identity()

    def map(self, conv5: Tensor) -> Tensor:
        """Return the (B, C, size, size) map that fc6 sees of a (B, C, H, W) map."""
        return adaptive_max_pool(conv5, self.size)

    def vector(self, pooled: Tensor) -> Tensor:
        """Return the (B, channels) activations of fc7."""
        fc7: Tensor = self.classifier[:-1](pooled.flatten(1))
        return fc7

    def logits(self, fc7: Tensor) -> Tensor:
        """Return (B, K) logits."""
        logits: Tensor = self.classifier[-1](fc7)
        return logits

    def forward(self, conv5: Tensor) -> Tensor:
        """Return (B, K) logits of a (B, C, H, W) map."""
        return self.logits(self.vector(self.map(conv5)))


class StageTail(nn.Module):
    """The last stage of a network, the mean over its cells, and the logits.

    Args:
        parts: the stage, or its parts one after another, by their names in published files.
        pooled: max-pool the map first (GoogLeNet).
        channels: channels of the stage.
        dropout: fraction of its means dropped.
        num_classes: K.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        *,
        pooled: bool,
        channels: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.names, self.pooled, self.dropout = tuple(parts), pooled, dropout
        for name, part in parts.items():
            _add_at(self, name, part)
        self.fc: nn.Module = gaussian_linear(channels, num_classes)
        self.outputs_per_class = {"fc": 1}
        self.map_channels = self.vector_channels = channels

    def cut_behind(self, step: Literal["map", "vector"]) -> None:
        """Leave out the layers behind a step, where nobody asks for what they say: here the logits' layer."""
        self.fc, self.outputs_per_class = nn.Identity(), {}

    def map(self, x: Tensor) -> Tensor:
        """Return the (B, channels, h, w) map of the stage for a (B, C, H, W) map."""
        if self.pooled:
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x

    def vector(self, x: Tensor) -> Tensor:
        """Return the (B, channels) means over the cells of the stage's map; in training some are dropped."""
        return F.dropout(x.mean(dim=(2, 3)), self.dropout, self.training)

    def logits(self, means: Tensor) -> Tensor:
        """Return (B, K) logits."""
        logits: Tensor = self.fc(means)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits of a (B, C, H, W) map."""
        return self.logits(self.vector(self.map(x)))


def _add_at(parent: nn.Module, path: str, module: nn.Module) -> None:
    """Add a module under a dotted name such as features.14."""
    *above, name = path.split(".")
    for step in above:
        if not hasattr(parent, step):
            parent.add_module(step, nn.Module())
        parent = parent.get_submodule(step)
    parent.add_module(name, module)


def gaussian_linear(channels_in: int, num_classes: int) -> nn.Linear:
    """Return the layer of the logits, from a normal distribution of deviation 0.01."""
    layer = nn.Linear(channels_in, num_classes)
    gaussian(layer, 0.01)
    return layer


def build_tail(
    spec: PublishedBackboneConfig, backbone: nn.Module, dropout: float, num_classes: int
) -> FcTail | StageTail:
    """Return the rest of a published network, from scratch.

    Args:
        spec: the config's `detector.backbone`.
        backbone: what was built of it.
        dropout: fraction of activations dropped.
        num_classes: K.
    """
    family = family_of(spec)
    behind = family.behind
    if isinstance(behind, FcLayers):
        return FcTail(
            cast(Sequence[int], backbone.channels)[-1],
            behind.cells,
            channels=cast(int, backbone.fc_channels),
            dropout_first=behind.dropout_first,
            dropout=dropout,
            num_classes=num_classes,
        )
    stage = family.build_last_stage(spec)
    return StageTail(
        {key.removesuffix("."): stage.get_submodule(part) for key, part in behind.parts.items()},
        pooled=behind.pooled,
        channels=family.channels(spec)[-1],
        dropout=dropout,
        num_classes=num_classes,
    )
