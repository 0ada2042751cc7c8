"""A ResNet holds torchvision's weights and gives torchvision's features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detkit.models.backbones.resnet.family import RESNET, ResNetConfig
from detkit.models.backbones.resnet.network import ResNet, make_stage
from detkit.models.backbones.resnet.shapes import keys_of_weights
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


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("resnext50_32x4d", {"groups": 32, "width_per_group": 4}),
        pytest.param("wide_resnet50_2", {"width_per_group": 128}, marks=pytest.mark.slow),
    ],
)
def test_wider_and_grouped_bottlenecks_are_torchvisions(name: str, keys: dict[str, int]) -> None:
    theirs = fresh(torchvision.models.get_model(name))
    ours = ResNet(depth=50, **keys).eval()  # type: ignore[arg-type]
    load_weights({"": ours}, theirs.state_dict(), "test")
    x = torch.randn(1, 3, 48, 64)
    y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    for layer in ("layer1", "layer2", "layer3"):
        y = getattr(theirs, layer)(y)
    torch.testing.assert_close(ours(x)[0], y, rtol=1e-3, atol=1e-4 * float(y.detach().abs().max()))


def test_the_stride_may_be_in_the_first_convolution() -> None:
    theirs = fresh(torchvision.models.resnet50())
    for layer in (theirs.layer2, theirs.layer3):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    ours = ResNet(depth=50, stride_in="1x1").eval()
    load_weights({"": ours}, theirs.state_dict(), "test")
    x = torch.randn(1, 3, 48, 64)
    y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    y = theirs.layer3(theirs.layer2(theirs.layer1(y)))
    torch.testing.assert_close(ours(x)[0], y, rtol=1e-3, atol=1e-4 * float(y.detach().abs().max()))


def test_published_weights_are_those_of_one_network() -> None:
    def name(**keys: Any) -> str:
        return RESNET.published_name(ResNetConfig(**keys))

    assert name(depth=101, groups=32, width_per_group=8, norm="sync", width=0.5) == "resnext101_32x8d"
    assert name(depth=18) == "resnet18"
    assert name(stride_in="1x1") == ("resnet with depth: 50, groups: 1, width_per_group: 64, stride_in: 1x1")
    others = dict(RESNET.others(ResNetConfig(depth=50, groups=32, width_per_group=4, freeze_at=1)))
    assert len(others) == 9
    assert others["resnet18"] == ResNetConfig(depth=18, freeze_at=1)


@pytest.mark.parametrize("keys", [{"groups": 2}, {"width_per_group": 128}, {"stride_in": "1x1"}])
def test_blocks_without_a_bottleneck_have_no_keys_of_it(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(keys))} is a key of bottlenecks, which depth 34"):
        ResNetConfig(depth=34, **keys)


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


def test_a_dilated_layer4_has_the_strided_ones_outputs_in_every_second_cell() -> None:
    """The shortcut and the first convolution alone have the stride; 3x3 kernels step over what they left."""
    layer = {"depth": 50, "stage": 5, "width": 0.125, "norm": "frozen", "frozen": False, "stride_in": "1x1"}
    strided, dilated = make_stage(**layer).eval(), make_stage(**layer, dc5=True).eval()  # type: ignore[arg-type]
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 128, 9, 12)
    with torch.no_grad():
        out = dilated(x)
        assert out.shape[2:] == (9, 12)
        torch.testing.assert_close(out[:, :, ::2, ::2], strided(x), rtol=1e-4, atol=1e-5)
    whole = ResNet(depth=50, width=0.125, dc5=True)
    assert (whole.channels, whole.strides, whole.names[-1]) == ((256,), (16,), "layer4")
    assert whole(torch.randn(1, 3, 64, 96))[0].shape == (1, 256, 4, 6)


@pytest.mark.parametrize(
    ("keys", "groups", "width"), [({}, 1, 64), ({"groups": 32, "width_per_group": 4}, 32, 4)]
)
@pytest.mark.parametrize("depth", [50, 101])
def test_weights_tell_which_network_they_are_of(keys: Any, groups: int, width: int, depth: int) -> None:
    with torch.device("meta"):
        state = {f"x.{k}": v for k, v in ResNet(depth=depth, **keys).state_dict().items()}
    found = keys_of_weights(state, "x.")
    assert found == {"depth": depth, "groups": groups, "width_per_group": width}
    assert keys_of_weights(state) is None
    assert keys_of_weights({k: v for k, v in state.items() if "layer3.5" not in k}, "x.") is None


def test_weights_of_plain_blocks_tell_their_depth() -> None:
    with torch.device("meta"):
        states = [ResNet(depth=depth, pyramid=True).state_dict() for depth in (18, 34)]
    assert [keys_of_weights(state, "") for state in states] == [{"depth": 18}, {"depth": 34}]
