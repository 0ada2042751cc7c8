"""Backbones hold torchvision's weights and give torchvision's features; strides are what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detkit.models.backbones.alexnet.network import AlexNet
from detkit.models.backbones.googlenet.network import GoogLeNet, Inception5
from detkit.models.backbones.resnet.network import ResNet, make_stage
from detkit.models.backbones.sequential import SequentialBackbone
from detkit.models.backbones.vgg.network import VGG
from detkit.models.backbones.zfnet.network import ZFNet
from detkit.models.norm import FrozenBatchNorm
from detkit.models.pretrained import load_weights


def randomise_norms(model: nn.Module) -> None:
    noise = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5)):
                value.data = low + torch.rand(len(value), generator=noise)
            module.running_var = 0.5 + torch.rand(len(module.running_var), generator=noise)


def fresh(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    randomise_norms(model)
    return model.eval()


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


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_vgg_gives_torchvisions_features(name: str) -> None:
    theirs = fresh(getattr(torchvision.models, name)().features)
    state = {f"features.{key}": value for key, value in theirs.state_dict().items()}
    ours = VGG(
        depth=11, batch_norm=name.endswith("bn"), norm="frozen", width=1, freeze_at=0, pyramid=True
    ).eval()
    report = load_weights({"": ours}, state, "test")
    assert (report.missing, report.unused) == ((), ())
    x = torch.randn(1, 3, 64, 96)
    maps = ours(x)
    torch.testing.assert_close(maps[2], theirs[:-1](x), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(maps[3], theirs(x), rtol=1e-3, atol=1e-3)


def test_alexnet_takes_torchvisions_weights() -> None:
    theirs = torchvision.models.alexnet().features
    state = {f"features.{key}": value for key, value in theirs.state_dict().items()}
    report = load_weights({"": AlexNet(width=1, freeze_at=0)}, state, "test")
    assert (report.missing, report.unused, report.reshaped) == ((), (), ())


@pytest.mark.parametrize(("depth", "batch_norm"), [(11, False), (13, True), (16, False), (19, True)])
def test_vgg_has_torchvisions_keys(depth: int, batch_norm: bool) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"vgg{depth}{'_bn' if batch_norm else ''}")(init_weights=False)
        ours = VGG(depth=depth, batch_norm=batch_norm, norm="trainable", width=1, freeze_at=0, pyramid=False)
    wanted = {k: v.shape for k, v in theirs.state_dict().items() if k.startswith("features")}
    assert {k: v.shape for k, v in ours.state_dict().items()} == wanted


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


def test_googlenet_gives_torchvisions_features() -> None:
    theirs = fresh(torchvision.models.googlenet(init_weights=False, aux_logits=False, transform_input=True))
    ours = GoogLeNet(width=1, norm="frozen", freeze_at=0, pyramid=True).eval()
    report = load_weights({"": ours}, theirs.state_dict(), "test")
    assert (report.missing, report.unused) == ((), ("fc.weight", "fc.bias"))
    wanted: dict[str, Tensor] = {}
    for name in ("conv3", "inception3b", "inception4e", "inception5b"):
        getattr(theirs, name).register_forward_hook(lambda _m, _x, y, name=name: wanted.update({name: y}))
    x = torch.randn(1, 3, 96, 130)
    theirs(x)
    for own, peer in zip(ours(x), wanted.values(), strict=True):
        torch.testing.assert_close(own, peer, rtol=1e-3, atol=1e-4 * float(peer.detach().abs().max()))


def test_inception5_as_a_head_is_the_last_stage_of_the_pyramid() -> None:
    pyramid = GoogLeNet(width=0.25, norm="frozen", freeze_at=0, pyramid=True).eval()
    head = Inception5(pyramid.channels[2], width=0.25, norm="frozen", frozen=True).eval()
    state = {k: v for k, v in pyramid.state_dict().items() if k.startswith("inception5")}
    head.load_state_dict(state)
    *_, before, last = pyramid(torch.randn(1, 3, 64, 96))
    torch.testing.assert_close(head(nn.functional.max_pool2d(before, 2, 2, ceil_mode=True)), last)
    assert not trainable(head)


def test_zfnet_is_the_published_size() -> None:
    with torch.device("meta"):
        zfnet = ZFNet(width=1, freeze_at=1)
    assert (zfnet.channels, zfnet.strides, zfnet.fc_channels) == ((256,), (16,), 4096)
    assert [m.out_channels for m in zfnet.features if isinstance(m, nn.Conv2d)] == [96, 256, 384, 384, 256]
    assert min(int(name.split(".")[1]) for name in trainable(zfnet)) == 4


BACKBONES = {
    "zfnet": lambda: ZFNet(width=0.125, freeze_at=0),
    "googlenet": lambda: GoogLeNet(width=0.125, norm="frozen", freeze_at=2, pyramid=False),
    "inception_pyramid": lambda: GoogLeNet(width=0.125, norm="trainable", freeze_at=0, pyramid=True),
    "alexnet": lambda: AlexNet(width=0.125, freeze_at=1),
    "vgg": lambda: VGG(depth=16, batch_norm=True, norm="frozen", width=0.125, freeze_at=2, pyramid=False),
    "vgg_pyramid": lambda: VGG(
        depth=11, batch_norm=False, norm="frozen", width=0.125, freeze_at=0, pyramid=True
    ),
    "c4": lambda: ResNet(depth=50, width=0.125, norm="trainable", freeze_at=2, pyramid=False),
    "pyramid": lambda: ResNet(depth=18, width=0.5, norm="sync", freeze_at=0, pyramid=True),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_channels_and_strides_are_those_of_the_maps(name: str) -> None:
    backbone = BACKBONES[name]().eval()
    maps = backbone(torch.randn(1, 3, 128, 192))
    assert tuple(features.shape[1] for features in maps) == backbone.channels
    assert tuple(128 // features.shape[2] for features in maps) == backbone.strides
    assert tuple(192 // features.shape[3] for features in maps) == backbone.strides


@pytest.mark.parametrize("name", BACKBONES)
def test_map_lies_where_the_image_is(name: str) -> None:
    """What a cell sees is centred within half a cell of where its stride puts it."""
    backbone = BACKBONES[name]().eval()
    image = torch.randn(1, 3, 320, 320, requires_grad=True)
    last, stride = backbone(image)[0], backbone.strides[0]
    middle = last.shape[2] // 2
    last[0, :, middle, middle].square().sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1))
    centre = (seen.sum(1) * torch.arange(320)).sum() / seen.sum()
    assert middle * stride - 0.6 * stride < centre < (middle + 1) * stride + 0.1 * stride


def trainable(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def test_freezing_goes_from_the_input_on() -> None:
    resnet = ResNet(depth=18, width=0.125, norm="trainable", freeze_at=2, pyramid=True)
    assert {name.split(".")[0] for name in trainable(resnet)} == {"layer2", "layer3", "layer4"}
    assert isinstance(resnet.bn1, FrozenBatchNorm)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in resnet.layer1.modules())
    vgg = VGG(depth=16, batch_norm=False, norm="frozen", width=0.125, freeze_at=2, pyramid=False)
    assert min(int(name.split(".")[1]) for name in trainable(vgg)) == 10
    assert min(int(name.split(".")[1]) for name in trainable(AlexNet(width=0.125, freeze_at=1))) == 3


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


def test_sequential_backbone_derives_its_shape() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(8, 5, 1))
    backbone = SequentialBackbone(layers, [2, 4])
    assert (backbone.channels, backbone.strides) == ((8, 5), (2, 6))


def test_googlenet_has_torchvisions_keys_for_each_norm() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.googlenet(init_weights=False, aux_logits=False)
        wanted = {k: v.shape for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
        for norm in ("trainable", "sync"):
            ours = GoogLeNet(width=1, norm=norm, freeze_at=0, pyramid=True)
            assert {k: v.shape for k, v in ours.state_dict().items()} == wanted
        frozen = GoogLeNet(width=1, norm="frozen", freeze_at=0, pyramid=True).state_dict()
    assert set(frozen) == {k for k in wanted if not k.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("freeze_at", "first"),
    [(0, "conv1"), (1, "conv2"), (2, "inception3a"), (3, "inception4a"), (4, "inception5a")],
)
def test_googlenet_freezes_stage_by_stage(freeze_at: int, first: str) -> None:
    backbone = GoogLeNet(width=0.125, norm="trainable", freeze_at=freeze_at, pyramid=True)
    parts = list(dict.fromkeys(name.split(".")[0] for name, _ in backbone.named_parameters()))
    learned = {name.split(".")[0] for name in trainable(backbone)}
    assert first in learned
    frozen_parts = [
        backbone.get_submodule(name) for name, _ in backbone.named_children() if name not in learned
    ]
    assert not any(isinstance(m, nn.BatchNorm2d) for part in frozen_parts for m in part.modules())
    assert learned == set(parts[parts.index(first) :] if first in parts else parts)


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
