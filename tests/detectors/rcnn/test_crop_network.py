from __future__ import annotations

import pytest
import torch

from detkit.detectors.rcnn.network_builder import build_crop_network
from detkit.models.backbones.alexnet.config import AlexNetConfig
from detkit.models.backbones.families import AnyBackboneConfig
from detkit.models.backbones.googlenet.config import GoogLeNetConfig
from detkit.models.backbones.resnet.config import ResNetConfig
from detkit.models.backbones.vgg.config import VGGConfig
from detkit.models.backbones.zfnet.config import ZFNetConfig

NARROW = 0.0625
EVERY: tuple[AnyBackboneConfig, ...] = (
    AlexNetConfig(type="alexnet", width=NARROW),
    ZFNetConfig(type="zfnet", width=NARROW),
    VGGConfig(type="vgg", depth=11, width=NARROW),
    GoogLeNetConfig(type="googlenet", width=NARROW),
    ResNetConfig(type="resnet", depth=18, width=NARROW),
)


@pytest.mark.parametrize("spec", EVERY, ids=lambda spec: spec.type)
def test_every_backbone_reads_crops(spec: AnyBackboneConfig) -> None:
    network = build_crop_network(spec, 0.5, None).eval()
    crops = torch.randn(3, 3, 96, 96)
    pool5 = network.pool5(crops)
    for layer, width in network.widths.items():
        assert network.beyond(pool5, layer).shape == (3, width)
    # Without dropout the way of the training ends where that of a test does.
    torch.testing.assert_close(network(crops), network.beyond(pool5, network.last))
    assert network.last == ("fc7" if spec.type in ("alexnet", "zfnet", "vgg") else "pool5")


def test_the_layers_are_those_of_the_head() -> None:
    network = build_crop_network(EVERY[0], 0.0, None)
    pool5 = torch.randn(2, network.widths["pool5"])
    assert network.fc is not None
    fc6, fc7 = network.fc.fc6, network.fc.fc7
    torch.testing.assert_close(network.beyond(pool5, "fc6"), fc6(pool5).relu())
    torch.testing.assert_close(network.beyond(pool5, "fc7"), fc7(fc6(pool5).relu()).relu())


def test_pool5_of_a_vgg_is_its_own() -> None:
    network = build_crop_network(EVERY[2], 0.0, None)
    crops = torch.randn(1, 3, 224, 224)
    conv5 = network.backbone(crops)[-1]
    expected = torch.nn.functional.max_pool2d(conv5, 2).flatten(1)
    torch.testing.assert_close(network.pool5(crops), expected)


def test_dropout_is_for_training() -> None:
    network = build_crop_network(EVERY[0], 0.9, None).train()
    crops = torch.randn(1, 3, 64, 64)
    torch.manual_seed(0)
    first = network(crops)
    torch.manual_seed(1)
    assert not torch.equal(network(crops), first)
