"""ZFNet is that of the released Faster R-CNN."""

from __future__ import annotations

import torch
from torch import nn

from detkit.models.backbones.zfnet.network import ZFNet
from tests.models.backbones.networks import trainable
from tests.reference.caffe_layers import max_pool, norm_within_channel


def test_zfnet_is_the_published_size() -> None:
    with torch.device("meta"):
        zfnet = ZFNet(width=1, freeze_at=1)
    assert (zfnet.channels, zfnet.strides, zfnet.fc_channels) == ((256,), (16,), 4096)
    assert [m.out_channels for m in zfnet.features if isinstance(m, nn.Conv2d)] == [96, 256, 384, 384, 256]
    assert min(int(name.split(".")[1]) for name in trainable(zfnet)) == 4


def test_zfnet_is_the_released_layers_one_by_one() -> None:
    """Convolution, ReLU, norm, pooling: written out with the numbers of Faster R-CNN's prototxt."""
    torch.manual_seed(0)
    backbone = ZFNet(width=0.125, freeze_at=0).double().eval()
    convs = [layer for layer in backbone.features if isinstance(layer, nn.Conv2d)]
    for conv in convs:
        nn.init.normal_(conv.bias)
    y = x = torch.randn(1, 3, 64, 82, dtype=torch.float64) * 100
    for conv, stride, padding, pooled in zip(
        convs, (2, 2, 1, 1, 1), (3, 2, 1, 1, 1), (1, 1, 0, 0, 0), strict=True
    ):
        y = nn.functional.conv2d(y, conv.weight, conv.bias, stride, padding).relu()
        if pooled:
            normed = norm_within_channel(y.detach().numpy(), 3, 5e-5, 0.75)
            y = torch.from_numpy(max_pool(normed, 3, 2, 1))
    assert y.std() > 1
    torch.testing.assert_close(backbone(x)[0], y)


def test_the_names_of_weights_are_those_of_the_convolutions_places() -> None:
    assert [name for name in ZFNet(width=0.05).state_dict() if "weight" in name] == [
        f"features.{place}.weight" for place in (0, 4, 8, 10, 12)
    ]
