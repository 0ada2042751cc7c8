"""A ResNet holds torchvision's weights and gives torchvision's features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detkit.models.backbones.resnet.network import ResNet, make_stage
from detkit.models.norm import FrozenBatchNorm
from detkit.models.pretrained import load_weights
from tests.models.backbones.networks import fresh, trainable


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("norm", ["frozen", "trainable"])
def test_resnet_gives_torchvisions_features(depth: int, norm: Any) -> None:
    theirs = fresh(getattr(torchvision.models, f"resnet{depth}")())
    ours = ResNet(depth=depth, width=1, norm=norm, freeze_at=0, pyramid=True).eval()
    report = load_weights({"": ours}, theirs.state_dict(), "test")
    assert (report.missing, report.unused) == ((), ("fc.weight", "fc.bias"))
    x = torch.randn(1, 3, 64, 96)
    wanted = []
    y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    for name in ("layer1", "layer2", "layer3", "layer4"):
        y = getattr(theirs, name)(y)
        wanted.append(y)
    for own, peer in zip(ours(x), wanted, strict=True):
        torch.testing.assert_close(own, peer, rtol=1e-3, atol=1e-4 * float(peer.detach().abs().max()))


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnet_has_torchvisions_keys(depth: int) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"resnet{depth}")()
        ours = ResNet(depth=depth, width=1, norm="trainable", freeze_at=0, pyramid=True)
        head = make_stage(depth=depth, stage=5, width=1, norm="trainable", frozen=False)
    wanted = {k: v.shape for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    assert {k: v.shape for k, v in ours.state_dict().items()} == wanted
    layer4 = {k: v.shape for k, v in theirs.layer4.state_dict().items()}
    assert {k: v.shape for k, v in head.state_dict().items()} == layer4


def test_freezing_goes_from_the_input_on() -> None:
    resnet = ResNet(depth=18, width=0.125, norm="trainable", freeze_at=2, pyramid=True)
    assert {name.split(".")[0] for name in trainable(resnet)} == {"layer2", "layer3", "layer4"}
    assert isinstance(resnet.bn1, FrozenBatchNorm)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in resnet.layer1.modules())


def test_frozen_stages_stay_as_they_are_in_training() -> None:
    resnet = ResNet(depth=18, width=0.125, norm="trainable", freeze_at=3, pyramid=True).train()
    before = {k: v.clone() for k, v in resnet.state_dict().items()}
    resnet(torch.randn(2, 3, 64, 64))
    changed = {k for k, v in resnet.state_dict().items() if not torch.equal(v, before[k])}
    assert {name.split(".")[0] for name in changed} == {"layer3", "layer4"}


def test_from_scratch_a_frozen_norm_keeps_activations_in_bounds() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 64)
    maps: list[Tensor] = ResNet(depth=50, width=0.5, norm="frozen", freeze_at=0, pyramid=True)(x)
    assert all(0.1 < float(features.detach().std()) < 10 for features in maps)
