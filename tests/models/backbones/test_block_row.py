"""A row of torchvision's blocks holds its weights, gives its features, and is cut where the map is halved."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detkit.models.backbones.block_row import ConvNormActivation
from detkit.models.backbones.efficientnet.network import EfficientNet
from detkit.models.backbones.families import FAMILIES
from detkit.models.backbones.mobilenet.network import MobileNet
from detkit.models.norm import FrozenBatchNorm
from detkit.models.pretrained import load_weights
from tests.models.backbones.networks import fresh, trainable

ROWS = {
    name: (family, keys)
    for family in FAMILIES
    if family.head_name == "last_stage"
    for name, keys in family.variants.items()
}
SMALL = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0")


def maps_of(features: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return the last of torchvision's maps at each stride from 4 to 32."""
    sides, found = x.shape[2], {}
    for block in features:
        x = block(x)
        found[sides // x.shape[2]] = x
    return [found[stride] for stride in (4, 8, 16, 32)]


@pytest.mark.parametrize(("name", "norm"), [*product(SMALL, ["frozen"]), ("mobilenet_v3_small", "trainable")])
def test_it_gives_torchvisions_features(name: str, norm: Any) -> None:
    family, keys = ROWS[name]
    theirs = fresh(torchvision.models.get_model(name))
    spec = family.config.model_validate({**keys, "norm": norm})
    ours, one = family.build(spec, True).eval(), family.build(spec, False).eval()
    report = load_weights({"": ours}, theirs.state_dict(), "test")
    load_weights({"": one}, theirs.state_dict(), "test")
    assert report.missing == ()
    assert {key.split(".")[0] for key in report.unused} == {"classifier"}
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        wanted, found, (at_16,) = maps_of(theirs.features, x), ours(x), one(x)
        stage = family.build_last_stage(spec).eval()
        load_weights({"features.": stage}, theirs.state_dict(), "test")
        whole = stage(at_16)
    for own, peer in zip([*found, at_16, whole], [*wanted, wanted[2], wanted[3]], strict=True):
        torch.testing.assert_close(own, peer, rtol=1e-3, atol=1e-4 * float(peer.abs().max()))


@pytest.mark.parametrize("network", [MobileNet, EfficientNet])
def test_freezing_goes_from_the_input_on(network: Any) -> None:
    row = network(width=0.125, norm="trainable", freeze_at=3, pyramid=True).train()
    of_stages = [list(row.features[:end]) for end in (0, *row.ends)]
    frozen = len(of_stages[2])
    assert {int(name.split(".")[1]) for name in trainable(row)} == set(range(frozen, len(row.features)))
    before = {key: value.clone() for key, value in row.state_dict().items()}
    row(torch.randn(2, 3, 64, 64))
    changed = {key for key, value in row.state_dict().items() if not torch.equal(value, before[key])}
    assert min(int(name.split(".")[1]) for name in changed) == frozen
    assert not any(isinstance(m, nn.BatchNorm2d) for m in row.features[:frozen].modules())


def test_norms_keep_what_torchvision_adds_to_the_variance() -> None:
    frozen = {m.eps for m in MobileNet(width=0.125).modules() if isinstance(m, FrozenBatchNorm)}
    assert frozen == {1e-3}
    learned = [m for m in MobileNet(width=0.125, norm="trainable").modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in learned} == {(1e-3, 0.01)}


def test_frozen_norms_go_into_the_weights() -> None:
    rows = [m for m in EfficientNet(width=0.125).modules() if isinstance(m, FrozenBatchNorm)]
    inside = [m for m in EfficientNet(width=0.125).modules() if isinstance(m, ConvNormActivation)]
    assert len(rows) == len(inside)


@pytest.mark.parametrize("name", SMALL)
def test_from_scratch_a_frozen_norm_keeps_activations_in_bounds(name: str) -> None:
    torch.manual_seed(0)
    family, keys = ROWS[name]
    row = family.build(family.config.model_validate({**keys, "width": 0.5}), True)
    with torch.no_grad():
        assert all(0.01 < float(features.std()) < 50 for features in row(torch.randn(1, 3, 64, 64)))
