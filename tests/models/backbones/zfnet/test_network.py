"""ZFNet is its paper's."""

from __future__ import annotations

import torch
from torch import nn

from detkit.models.backbones.zfnet.network import ZFNet
from tests.models.backbones.networks import trainable


def test_zfnet_is_the_published_size() -> None:
    with torch.device("meta"):
        zfnet = ZFNet(width=1, freeze_at=1)
    assert (zfnet.channels, zfnet.strides, zfnet.fc_channels) == ((256,), (16,), 4096)
    assert [m.out_channels for m in zfnet.features if isinstance(m, nn.Conv2d)] == [96, 256, 384, 384, 256]
    assert min(int(name.split(".")[1]) for name in trainable(zfnet)) == 4


def test_zfnet_is_its_papers_layers_one_by_one() -> None:
    """Convolution, ReLU, normalisation across channels, pooling: written out with the papers numbers."""
    torch.manual_seed(0)
    backbone = ZFNet(width=0.125, freeze_at=0).eval()
    convs = [layer for layer in backbone.features if isinstance(layer, nn.Conv2d)]
    x = torch.randn(1, 3, 64, 80)
    y = x
    for conv, stride, padding, pooled in zip(
        convs, (2, 2, 1, 1, 1), (3, 2, 1, 1, 1), (1, 1, 0, 0, 0), strict=True
    ):
        y = nn.functional.conv2d(y, conv.weight, conv.bias, stride, padding).relu()
        if pooled:
            square = nn.functional.pad((y * y).unsqueeze(1), (0, 0, 0, 0, 1, 1)).squeeze(1)
            across = square[:, :-2] + square[:, 1:-1] + square[:, 2:]
            y = nn.functional.max_pool2d(y / (1 + 5e-5 / 3 * across) ** 0.75, 3, 2, padding=1)
    torch.testing.assert_close(backbone(x)[0], y)
