"""The rest of a published network behind its backbone: what makes class logits of the last map."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.backbones.googlenet.network import LAST as LAST_INCEPTION
from detkit.models.backbones.googlenet.network import make_modules
from detkit.models.backbones.resnet.network import LAST, make_stage
from detkit.models.initialisation import gaussian, he_normal
from detkit.models.norm import Norm

LAST_FC = "6"


class FcTail(nn.Module):
    """fc6, fc7 and the logits of AlexNet, ZFNet and VGG, under torchvision's names.

    conv5 is max-pooled to the size that fc6 wants whatever the image's size, as RoIPool would do it with the
    whole image as the region; for a VGG and 224 pixels that is pool5.

    Args:
        channels_in: channels of conv5.
        size: cells along each side that fc6 sees.
        channels: width of fc6 and fc7.
        fc_keys: what the names of fc6 and fc7 begin with in files.
        dropout: share of activations dropped before (AlexNet, ZFNet) or behind (VGG) each of them.
        num_classes: K.
    """

    def __init__(
        self,
        channels_in: int,
        size: int,
        *,
        channels: int,
        fc_keys: tuple[str, str],
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for inputs in (channels_in * size * size, channels):
            layers += [nn.Linear(inputs, channels), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        if fc_keys[0] == "classifier.1.":  # the dropout stands before each layer
            layers = [layers[-1], *layers[:-1]]
        self.classifier = nn.Sequential(*layers)
        he_normal(self.classifier)
        self.classifier.append(gaussian_linear(channels, num_classes))
        self.outputs_per_class = {f"classifier.{LAST_FC}": 1}

    def forward(self, conv5: Tensor) -> Tensor:
        """Return (B, K) logits of a (B, C, H, W) map."""
        logits: Tensor = self.classifier(F.adaptive_max_pool2d(conv5, self.size).flatten(1))
        return logits


class StageTail(nn.Module):
    """The last stage of a ResNet or GoogLeNet, the mean over its cells, and the logits.

    Args:
        stages: what is applied one after another, by torchvision's name.
        pooled: max-pool the map first (GoogLeNet).
        channels: channels of the last stage.
        dropout: share of its means dropped.
        num_classes: K.
    """

    def __init__(
        self, stages: dict[str, Any], *, pooled: bool, channels: int, dropout: float, num_classes: int
    ) -> None:
        super().__init__()
        self.names, self.pooled, self.dropout = tuple(stages), pooled, dropout
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.fc = gaussian_linear(channels, num_classes)
        self.outputs_per_class = {"fc": 1}

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits of a (B, C, H, W) map."""
        if self.pooled:
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        for name in self.names:
            x = getattr(self, name)(x)
        logits: Tensor = self.fc(F.dropout(x.mean(dim=(2, 3)), self.dropout, self.training))
        return logits


def resnet_tail(
    *, depth: int, width: float, norm: Norm, frozen: bool, dropout: float, num_classes: int
) -> StageTail:
    """Return layer4 and the logits of a ResNet."""
    layer4 = make_stage(depth=depth, stage=LAST, width=width, norm=norm, frozen=frozen)
    channels: int = layer4[-1].channels  # type: ignore[assignment]
    return StageTail(
        {"layer4": layer4}, pooled=False, channels=channels, dropout=dropout, num_classes=num_classes
    )


def googlenet_tail(
    channels_in: int, *, width: float, norm: Norm, frozen: bool, dropout: float, num_classes: int
) -> StageTail:
    """Return inception5a, inception5b and the logits of a GoogLeNet."""
    stages = make_modules(LAST_INCEPTION, channels_in, width=width, norm=norm, frozen=frozen)
    channels = stages["inception5b"].channels
    return StageTail(stages, pooled=True, channels=channels, dropout=dropout, num_classes=num_classes)


def gaussian_linear(channels_in: int, num_classes: int) -> nn.Linear:
    """Return the layer of the logits, from a normal distribution of deviation 0.01."""
    layer = nn.Linear(channels_in, num_classes)
    gaussian(layer, 0.01)
    return layer
