"""A VGG holds torchvision's weights and gives torchvision's features."""

from __future__ import annotations

import pytest
import torch
import torchvision

from detkit.models.backbones.vgg.network import VGG
from detkit.models.pretrained import load_weights
from tests.models.backbones.networks import fresh, trainable
from tests.reference.caffe_layers import num_windows


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


@pytest.mark.parametrize(("depth", "batch_norm"), [(11, False), (13, True), (16, False), (19, True)])
def test_vgg_has_torchvisions_keys(depth: int, batch_norm: bool) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"vgg{depth}{'_bn' if batch_norm else ''}")(init_weights=False)
        ours = VGG(depth=depth, batch_norm=batch_norm, norm="trainable", width=1, freeze_at=0, pyramid=False)
    wanted = {k: v.shape for k, v in theirs.state_dict().items() if k.startswith("features")}
    assert {k: v.shape for k, v in ours.state_dict().items()} == wanted


@pytest.mark.parametrize("pixels", [75, 600, 563])
def test_ceil_mode_makes_the_maps_of_caffe(pixels: int) -> None:
    cells = pixels
    for _ in range(4):
        cells = num_windows(cells, 2, 2, 0)
    with torch.device("meta"):
        up, down = (
            VGG(depth=11, width=0.125, ceil_mode=mode)(torch.zeros(1, 3, pixels, 32))
            for mode in (True, False)
        )
    assert up[0].shape[2] == cells
    assert down[0].shape[2] == pixels // 16


def test_freezing_goes_from_the_input_on() -> None:
    vgg = VGG(depth=16, width=0.125, freeze_at=2)
    assert min(int(name.split(".")[1]) for name in trainable(vgg)) == 10
