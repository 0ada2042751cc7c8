from __future__ import annotations

import pytest
import torch

from detkit.detectors.rcnn.builder import build_crop_network
from detkit.models.backbones.families import FAMILIES, AnyBackboneConfig, family_named

EVERY: dict[str, AnyBackboneConfig] = {
    name: family.config.model_validate({**keys, "width": 0.0625})
    for family in FAMILIES
    for name, keys in list(family.variants.items())[:1]
}


@pytest.mark.parametrize("name", EVERY)
def test_every_backbone_reads_crops(name: str) -> None:
    spec = EVERY[name]
    network = build_crop_network(spec, 0.5, None).eval()
    crops = torch.randn(3, 3, 96, 96)
    pool5 = network.pool5(crops)
    for layer, width in network.widths.items():
        assert network.beyond(pool5, layer).shape == (3, width)
    # Without dropout the way of the training ends where that of a test does.
    family = family_named(spec.type)
    assert family
    torch.testing.assert_close(network(crops), network.beyond(pool5, "fc7" if family.fc else "pool5"))


def test_the_layers_are_those_of_the_head() -> None:
    network = build_crop_network(EVERY["alexnet"], 0.0, None)
    pool5 = torch.randn(2, network.widths["pool5"])
    assert network.fc is not None
    fc6, fc7 = network.fc.fc6, network.fc.fc7
    torch.testing.assert_close(network.beyond(pool5, "fc6"), fc6(pool5).relu())
    torch.testing.assert_close(network.beyond(pool5, "fc7"), fc7(fc6(pool5).relu()).relu())


def test_pool5_of_a_vgg_is_its_own() -> None:
    network = build_crop_network(EVERY["vgg11"], 0.0, None)
    crops = torch.randn(1, 3, 224, 224)
    conv5 = network.backbone(crops)[-1]
    expected = torch.nn.functional.max_pool2d(conv5, 2).flatten(1)
    torch.testing.assert_close(network.pool5(crops), expected)


def test_dropout_is_for_training() -> None:
    network = build_crop_network(EVERY["alexnet"], 0.9, None).train()
    crops = torch.randn(1, 3, 64, 64)
    torch.manual_seed(0)
    first = network(crops)
    torch.manual_seed(1)
    assert not torch.equal(network(crops), first)
