"""Config -> model: seeds, frozen parts, users' own parts, and combinations that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from detkit.detectors.builder import build_detector
from detkit.detectors.config import CustomDetectorConfig
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.errors import UserError
from detkit.models.backbones.resnet.network import ResNet
from detkit.models.norm import FrozenBatchNorm
from detkit.models.pretrained import LoadReport

C4: dict[str, Any] = {
    "type": "faster_rcnn",
    "backbone": {"type": "resnet", "depth": 18, "width": 0.125},
    "proposals": {"type": "rpn", "channels": 8},
    "regions": {"type": "roi_align", "size": 5},
    "head": {"type": "layer4"},
}
FPN: dict[str, Any] = {
    **C4,
    "neck": {"type": "fpn", "channels": 8},
    "head": {"type": "two_fc", "channels": 8},
}

OWN_PARTS = """
from torch import nn
class Backbone(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels, self.strides = (channels,), (8,)
        self.conv = nn.Conv2d(3, channels, 8, stride=8)
    def forward(self, pixels):
        return [self.conv(pixels)]
class Head(nn.Module):
    def __init__(self, features, channels, size, num_classes):
        super().__init__()
        self.given = (features.strides, channels, size, num_classes)
    def losses(self, maps, proposals, targets, seed): ...
    def detect(self, maps, proposals, sizes): ...
class Detector(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes
    def detect(self, images): ...
def number(**given):
    return 7
"""


def build(parts: dict[str, Any], seed: int = 0, **rest: Any) -> nn.Module:
    return build_detector(FasterRCNNConfig.model_validate(parts), 3, seed, **rest)


def test_seed_decides_the_weights_and_nothing_else_changes() -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first, again, other = build(C4), build(C4), build(C4, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, two, three in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
        assert one.std() == 0 or not torch.equal(one, three)


def test_convolutions_are_channels_last() -> None:
    assert all(
        module.weight.is_contiguous(memory_format=torch.channels_last)
        for module in build(FPN).modules()
        if isinstance(module, nn.Conv2d)
    )


def test_without_weights_nothing_is_frozen() -> None:
    assert all(parameter.requires_grad for parameter in build(C4).parameters())


def test_weights_of_a_file_reach_backbone_and_head(tmp_path: Path) -> None:
    source = ResNet(depth=18, width=0.125, norm="trainable", freeze_at=0, pyramid=True)
    file = tmp_path / "resnet.pth"
    torch.save(source.state_dict(), file)
    reports: list[LoadReport] = []
    parts = {**C4, "backbone": {**C4["backbone"], "weights": str(file), "freeze_at": 3}}
    model = build(parts, on_weights=reports.append)
    assert (reports[0].missing, reports[0].unused, reports[0].reshaped) == ((), (), ())
    assert torch.equal(model.backbone.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    assert torch.equal(model.roi_head.head.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    frozen = {n.split(".")[1] for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "layer1", "layer2"}
    fresh = build(parts, pretrained=False)
    assert not torch.equal(fresh.backbone.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    assert {n for n, p in fresh.named_parameters() if not p.requires_grad} == {
        n for n, p in model.named_parameters() if not p.requires_grad
    }


def test_fc6_and_fc7_take_the_classifiers_weights(tmp_path: Path) -> None:
    width = {"type": "vgg", "depth": 11, "width": 0.125}
    parts = {
        **C4,
        "backbone": width,
        "regions": {"type": "roi_pool", "size": 2},
        "head": {"type": "fc6_fc7"},
    }
    donor = build(parts, seed=5)
    state = dict(donor.backbone.state_dict())
    for name, layer in (("classifier.0", donor.roi_head.head.fc6), ("classifier.3", donor.roi_head.head.fc7)):
        state |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
    torch.save(state, tmp_path / "vgg.pth")
    model = build({**parts, "backbone": {**width, "weights": str(tmp_path / "vgg.pth")}})
    assert torch.equal(model.roi_head.head.fc6.weight, donor.roi_head.head.fc6.weight)
    assert torch.equal(model.roi_head.head.fc7.bias, donor.roi_head.head.fc7.bias)


@pytest.mark.parametrize("norm", ["frozen", "trainable", "sync"])
def test_norm_of_the_backbone_and_layer4(norm: str) -> None:
    wanted = {"frozen": FrozenBatchNorm, "trainable": nn.BatchNorm2d, "sync": nn.SyncBatchNorm}[norm]
    model = build({**C4, "backbone": {**C4["backbone"], "norm": norm}})
    assert type(model.backbone.bn1) is wanted
    assert type(model.roi_head.head.layer4[0].bn1) is wanted


@pytest.mark.parametrize(
    ("head", "norm"),
    [("none", None), ("trainable", nn.BatchNorm2d), ("sync", nn.SyncBatchNorm)],
)
def test_norms_of_pyramid_and_convolutional_head(head: str, norm: type | None) -> None:
    parts = {
        **FPN,
        "neck": {"type": "fpn", "channels": 8, "norm": head},
        "head": {"type": "conv_fc", "num_convs": 2, "conv_channels": 8, "channels": 8, "norm": head},
    }
    model = build(parts)
    for part in (model.neck, model.roi_head.head):
        found = {type(m) for m in part.modules()} & {nn.BatchNorm2d, nn.SyncBatchNorm}
        assert found == ({norm} if norm else set())


def test_maps_must_share_their_number_of_sizes() -> None:
    sizes = ((32.0,), (64.0, 80.0), (128.0,), (256.0,), (512.0,))
    with pytest.raises(UserError, match=r"same number of sizes.*\[1, 2, 1, 1, 1\]"):
        build({**FPN, "proposals": {"type": "rpn", "anchors": {"sizes_px": sizes}}})


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_detector_parts.py").write_text(OWN_PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))


def custom(name: str, **args: Any) -> dict[str, Any]:
    return {"type": "custom", "target": f"own_detector_parts:{name}", "args": args}


@pytest.mark.usefixtures("own_parts")
def test_own_backbone_head_and_detector() -> None:
    model = build(
        {
            **C4,
            "backbone": custom("Backbone", channels=5),
            "head": custom("Head"),
            "regions": {"type": "roi_pool", "size": 3},
        }
    )
    assert model.roi_head.given == ((8,), 5, 3, 3)
    assert model.rpn.head.conv[0][0].in_channels == 5
    whole = build_detector(CustomDetectorConfig.model_validate(custom("Detector")), 3, 0)
    assert whole.num_classes == 3


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": custom("number")}, "backbone: .* gave a int without channels, strides"),
        ({"backbone": custom("Backbone", channels=5)}, "layer4 is a part of backbone: resnet"),
        (
            {"backbone": custom("Backbone", channels=5), "head": {"type": "fc6_fc7"}},
            "fc6_fc7 is a part of backbone: alexnet, caffenet, zfnet or vgg",
        ),
        ({"backbone": custom("Backbone", channels=5), **{k: FPN[k] for k in ("neck", "head")}}, "5 lists"),
    ],
)
def test_own_parts_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build({**C4, **changes})
